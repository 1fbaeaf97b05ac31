"""Direct alignment against the papers' formulas, written out from the model's own logits."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import examples
from torch.nn import functional as F

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable
from scrimp.tuning.objectives import TorchBatch
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.validation import mean_loss

SIGMOID, LOG_SIGMOID = torch.sigmoid, F.logsigmoid


def pairs(count: int = 6) -> list[Encoded]:
    """Prompts with two answers of different lengths."""
    made = []
    for one in examples(count):
        prompt = one.ids[:-3]
        rejected = Encoded(prompt + [120, 121, 122, 123, 2][-2 - one.row % 4:], [False] * len(prompt) + [True] * (
            2 + one.row % 4), row=one.row)
        made.append(replace(one, target=None, second=rejected))
    return made


def log_probability(model, one: Encoded) -> torch.Tensor:
    """Summed over the answer, from all logits."""
    ids = torch.tensor([one.ids])
    logs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    picked = logs.gather(-1, ids[0, 1:, None])[:, 0]
    return (picked * torch.tensor(one.trained[1:])).sum()


def odds(mean: torch.Tensor) -> torch.Tensor:
    return mean - torch.log(1 - mean.exp())


#: what each paper minimises for a pair: log-probabilities w, r, of the reference w0, r0, and answers' lengths n, m
FORMULAS = {
    "dpo": lambda w, r, w0, r0, n, m: -LOG_SIGMOID(0.1 * ((w - w0) - (r - r0))),
    "ipo": lambda w, r, w0, r0, n, m: ((w - w0) / n - (r - r0) / m - 1 / (2 * 0.1)) ** 2,
    "simpo": lambda w, r, w0, r0, n, m: -LOG_SIGMOID(2.0 / n * w - 2.0 / m * r - 1.0),
    "cpo": lambda w, r, w0, r0, n, m: -LOG_SIGMOID(0.1 * (w - r)) - w / n,
    "slic": lambda w, r, w0, r0, n, m: (1 - (w - r)).clamp(min=0) - w / n,
    "orpo": lambda w, r, w0, r0, n, m: -w / n - 0.1 * LOG_SIGMOID(odds(w / n) - odds(r / m)),
    "orpo-two-stage": lambda w, r, w0, r0, n, m: -LOG_SIGMOID(0.1 * (odds(w / n) - odds(r / m))),
    "asft": lambda w, r, w0, r0, n, m: -w / n + 0.1 * (-w / n - torch.log(1 - (r / m).exp())),
    "asft-two-stage": lambda w, r, w0, r0, n, m: -LOG_SIGMOID(0.1 * odds(w / n)) - LOG_SIGMOID(-0.1 * odds(r / m)),
    "bco": lambda w, r, w0, r0, n, m: -LOG_SIGMOID(0.1 * (w - w0)) - LOG_SIGMOID(-0.1 * (r - r0)),
    "nca": lambda w, r, w0, r0, n, m: (-LOG_SIGMOID(0.1 * (w - w0)) - 0.5 * LOG_SIGMOID(-0.1 * (w - w0))
                                     - 0.5 * LOG_SIGMOID(-0.1 * (r - r0))),
    "apo-zero": lambda w, r, w0, r0, n, m: 1 - SIGMOID(0.1 * (w - w0)) + SIGMOID(0.1 * (r - r0)),
    "sppo": lambda w, r, w0, r0, n, m: (w - w0 - 0.5 / 0.1) ** 2 + (r - r0 + 0.5 / 0.1) ** 2,
}


def prepared(objective, model, data):
    return objective.prepare(model, data, pad_id=0, micro_tokens=64)


def batch_of(data):
    return TorchBatch.of(collate(data, pad_id=0), torch.device("cpu"))


def gradients(model, total):
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(trainable(model).values()))])


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("chunk", [3, 256])
def test_value_and_gradient_are_those_of_the_paper(lora, name, chunk):
    model, objective = lora(), build("objective", name, {"chunk": chunk})
    data = prepared(objective, model, pairs())
    start = [(log_probability(model, p).item(), log_probability(model, p.second).item()) for p in data]
    with torch.no_grad():
        for p in trainable(model).values():
            p.add_(torch.randn_like(p, generator=None) * 0.05)
    wanted = sum(FORMULAS[name](log_probability(model, p), log_probability(model, p.second), *before,
                                sum(p.trained), sum(p.second.trained))
                 for p, before in zip(data, start, strict=True))
    loss = objective.loss(model, batch_of(data))
    assert loss.count == len(data)
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-4)
    ours, theirs = gradients(model, loss.total), gradients(model, wanted)
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_the_reference_is_the_model_at_the_start(lora):
    model, data = lora(), pairs()
    found = prepared(build("objective", "dpo"), model, data)
    for one in found:
        assert one.reference == pytest.approx((log_probability(model, one).item(),
                                               log_probability(model, one.second).item()), rel=1e-5)
    loss = build("objective", "dpo").loss(model, batch_of(found))
    assert loss.total.item() / loss.count == pytest.approx(math.log(2), rel=1e-5)
    assert prepared(build("objective", "dpo"), None, found) == found  # measured once


def test_the_reference_pass_is_charged_and_leaves_the_model_as_it_was(lora):
    model, meter, data = lora(dropout=0.5), Meter(), pairs()
    model.train()
    build("objective", "dpo").prepare(model, data, pad_id=0, micro_tokens=64, meter=meter)
    assert model.training
    assert meter.bill().tokens_forward == sum(len(p.ids) + len(p.second.ids) for p in data)
    assert meter.bill().tokens_backward == 0
    assert meter.bill().flops > 0
    free = Meter()
    build("objective", "simpo").prepare(model, data, pad_id=0, micro_tokens=64, meter=free)
    assert free.bill().tokens_forward == 0


def test_a_run_pays_for_its_reference_and_both_answers(lora, fit, tmp_path):
    def bill(name):
        meter = Meter()
        result = fit(lora(), pairs(), objective=name, meter=meter, steps=3, batch_size=6, folder=tmp_path / name,
                     fast=False)  # the fast path's comparison is on the bill too
        return meter.bill(), result.tokens

    tokens = sum(p.tokens for p in pairs())
    (dpo, trained), (orpo, _) = bill("dpo"), bill("orpo")
    assert trained == dpo.tokens_backward == orpo.tokens_backward == orpo.tokens_forward == 3 * tokens
    assert dpo.tokens_forward == 4 * tokens


def test_virtual_tokens_are_no_part_of_the_reference(causal):
    from peft import PromptTuningConfig, get_peft_model

    data, objective = pairs(), build("objective", "dpo")
    wanted = [log_probability(causal, p).item() for p in data]
    torch.manual_seed(0)  # PEFT draws the virtual tokens
    prompted = get_peft_model(causal, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    found = prepared(objective, prompted, data)
    assert [one.reference[0] for one in found] == pytest.approx(wanted, rel=1e-5)
    assert objective.loss(prompted, batch_of(found)).total.item() != pytest.approx(len(data) * math.log(2), rel=1e-5)


def test_how_a_step_is_cut_changes_nothing(lora):
    model, objective = lora(), build("objective", "orpo")
    data = prepared(objective, model, pairs())
    whole = objective.loss(model, batch_of(data)).total.item()
    assert whole == pytest.approx(sum(objective.loss(model, batch_of([p])).total.item() for p in data), rel=1e-5)


def test_training_prefers_the_chosen_answers_and_repeats_to_the_bit(lora, fit, tmp_path):
    states, start = [], prepared(build("objective", "dpo"), lora(), pairs())
    for run in ("a", "b"):
        model = lora()
        result = fit(model, pairs(), objective="dpo", steps=12, batch_size=6, folder=tmp_path / run)
        states.append(torch.cat([p.detach().flatten() for p in trainable(model).values()]))
    assert result.curve[-1].loss < 0.7 * result.curve[0].loss
    assert all(log_probability(model, p) - p.reference[0] > log_probability(model, p.second) - p.reference[1]
               for p in start)
    assert torch.equal(*states)


def test_validation_goes_by_the_same_reference(lora, fit):
    model, objective, data = lora(), build("objective", "dpo"), pairs()
    ready = prepared(objective, model, data)
    validate = lambda: mean_loss(model, ready, objective=objective, pad_id=0, micro_tokens=64)  # noqa: E731
    result = fit(model, data, objective=objective, steps=8, batch_size=6, validate=validate)
    assert result.validation_before == pytest.approx(math.log(2), rel=1e-4)
    assert result.validation < result.validation_before


def test_supervised_tuning_on_pairs_learns_the_chosen_answers_alone(lora, fit):
    model, meter, objective = lora(), Meter(), build("objective", "sft")
    chosen = [replace(p, second=None) for p in pairs()]
    data = prepared(objective, model, pairs())
    assert data == chosen
    loss = objective.loss(model, batch_of(data))
    assert loss.total.item() == pytest.approx(-sum(log_probability(model, p).item() for p in chosen), rel=1e-5)
    fit(model, pairs(), steps=1, batch_size=6, meter=meter)
    assert meter.bill().tokens_backward == sum(len(p.ids) for p in chosen)


def test_rows_without_a_second_answer_are_refused(lora):
    with pytest.raises(DataError, match=r"row 1: 'dpo' learns from pairs, and 12 of 12 rows are none"):
        prepared(build("objective", "dpo"), lora(), examples())


def test_a_margin_needs_a_comparison():
    with pytest.raises(OptionError, match="margin"):
        build("objective", "bco", {"margin": 0.5})


def test_a_certain_answer_has_finite_odds():
    objective = build("objective", "orpo-two-stage")
    summed = torch.tensor([0.0, -1e-9, -300.0, -1.0], requires_grad=True)
    loss = objective.preference(summed, torch.ones(4), torch.full((4,), math.nan))
    (gradient,) = torch.autograd.grad(loss.sum(), summed)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


def test_a_plan_names_them_flat():
    plan = TunePlan.parse({"objective": "orpo", "beta": 0.5, "learning_rate": 1e-3})
    assert plan.objective.beta == 0.5
    assert plan.objective.sft == 1.0
    assert TunePlan.parse(plan.flat()) == plan


def worked(count: int = 6) -> list[Encoded]:
    """Prompts with an answer, and a rationale of another length."""
    return [replace(p, second=Encoded([9, *p.second.ids], [False, *p.second.trained], row=p.row)) for p in pairs(count)]


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_a_rationale_is_a_second_task(lora, weight):
    model, objective = lora(), build("objective", "rationale", {"rationale_weight": weight})
    data = prepared(objective, model, worked())
    wanted = -sum(log_probability(model, p) / sum(p.trained)
                  + weight * log_probability(model, p.second) / sum(p.second.trained) for p in data)
    loss = objective.loss(model, batch_of(data))
    assert loss.count == len(data)
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    ours, theirs = gradients(model, loss.total), gradients(model, wanted)
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_a_rationale_is_needed(lora):
    with pytest.raises(DataError, match="12 of 12 rows have no rationale"):
        prepared(build("objective", "rationale"), lora(), examples())
