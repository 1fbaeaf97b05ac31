"""Each guard with its fault planted."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from scrimp.core.errors import GuardError
from scrimp.core.ledger import Ledger
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.tuning import beforehand, trainer
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.beforehand import check_apart
from scrimp.tuning.guards import DeadGradient, Unmoved, check_accumulation, check_seed, fault
from scrimp.tuning.objectives import SFT, Loss
from scrimp.tuning.sampling import Shuffled
from scrimp.tuning.stream import Stream


class PoisonedSFT(SFT):
    """Multiplies the losses of some calls with a gradient (from 0)."""

    calls: tuple[int, ...] = ()
    by: str = "nan"
    _seen: int = -1

    def loss(self, model, batch):
        loss = super().loss(model, batch)
        if not torch.is_grad_enabled():
            return loss
        self._seen += 1
        return Loss(loss.total * float(self.by), loss.count) if self._seen in self.calls else loss


class EmptySFT(SFT):
    """Promises trained tokens and counts none."""

    def loss(self, model, batch):
        return Loss(super().loss(model, batch).total, 0)


class MeanSFT(SFT):
    """The classic mistake: each micro-batch's mean, weighted as if all had as many trained tokens."""

    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return Loss(loss.total / loss.count, 1)


def test_a_tensor_that_the_loss_does_not_reach(lora, data, fit):
    model = lora()
    model.register_parameter("idle", torch.nn.Parameter(torch.ones(3)))
    with pytest.raises(GuardError, match="idle") as caught:
        fit(model, data)
    assert caught.value.exit_code == 6


def test_a_cut_graph_names_the_tensors_below_it(lora, data, fit):
    model = lora()
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    layer.lora_A["default"].register_forward_hook(lambda module, inputs, output: output.detach())
    with pytest.raises(GuardError, match=r"layers\.0\.self_attn\.q_proj\.lora_A"):
        fit(model, data)


def test_lora_s_first_step_is_no_dead_gradient():
    parameters = {name: torch.nn.Parameter(torch.zeros(2)) for name in "ab"}
    guard = DeadGradient(parameters)
    parameters["a"].grad, parameters["b"].grad = torch.ones(2), torch.zeros(2)
    guard.see()
    parameters["b"].grad = torch.ones(2)
    guard.see()
    guard.see()
    parameters["b"].grad = None
    guard.see()  # later steps are not looked at


@pytest.mark.parametrize("by", ["nan", "inf", "1000"])
def test_a_bad_step_is_rewound_with_half_the_rate(lora, data, fit, tmp_path, by):
    ledger, model = Ledger(tmp_path / "ledger.jsonl"), lora()
    objective = PoisonedSFT(calls=(7,), by=by)
    result = fit(model, data, steps=12, objective=objective, checkpoint_every_steps=3, ledger=ledger,
                 schedule="constant", rate=0.01)
    rewound = ledger.read("train rewound")
    assert [(e["at"], e["to"], e["slowed"]) for e in rewound] == [(8, 6, 0.5)]
    assert (result.steps, len(result.curve)) == (12, 12)
    assert [p.learning_rate for p in result.curve[-6:]] == [0.005] * 6
    assert "rewound to step 6" in result.warnings[0]
    assert all(torch.isfinite(t).all() for t in trainable_state(model).values())


def test_three_rewinds_are_enough(lora, data, fit):
    with pytest.raises(GuardError, match="does not hold"):
        fit(lora(), data, steps=12, objective=PoisonedSFT(calls=tuple(range(6, 100))), checkpoint_every_steps=3)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(lora, data, fit):
    model = lora()
    before = trainable_state(model)
    parameter = next(iter(trainable(model).values()))
    parameter.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(GuardError, match="norm is nan"):
        fit(model, data)
    assert all(torch.equal(p, before[n]) for n, p in trainable(model).items())


def test_small_losses_may_jump():
    calm = [0.01] * 20
    assert fault(0.5, 1.0, calm) is None
    assert fault(2.9, 1.0, calm) is None
    assert "leapt" in fault(3.1, 1.0, calm)
    assert fault(8.0, 1.0, [3.0] * 20) is None
    assert fault(100.0, 1.0, [3.0] * 4) is None


def test_no_trained_tokens(lora, data, fit):
    bare = [Encoded(ids=e.ids, trained=[False] * len(e.ids), target=None, row=e.row, truncated=False) for e in data]
    with pytest.raises(GuardError, match="nothing would be trained"):
        fit(lora(), bare)


def test_an_objective_that_counts_nothing(lora, data, fit):
    with pytest.raises(GuardError, match="nothing is trained in step 1"):
        fit(lora(), data, objective=EmptySFT())


def test_examples_without_trained_tokens_are_left_out_and_named(lora, data, fit, tmp_path):
    bare = Encoded(ids=[5, 6, 7], trained=[False] * 3, target=None, row=77, truncated=True)
    with_bare, without = lora(), lora()
    result = fit(with_bare, [*data, bare])
    fit(without, data, folder=tmp_path / "without")
    assert "1 of 13 examples" in result.warnings[0]
    assert "77" in result.warnings[0]
    one, other = trainable_state(with_bare), trainable_state(without)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_a_validation_that_is_no_number(lora, data, fit):
    with pytest.raises(GuardError, match="validation"):
        fit(lora(), data, validate=lambda: math.nan)


def uneven():
    """Answers of very different length, where a mean of means is far off."""
    return [Encoded(ids=[10, *range(20, 30 + 5 * i)], trained=[False] * 3 + [True] * (8 + 5 * i), target=None, row=i,
                    truncated=False) for i in range(4)]


def test_accumulation_is_exact(lora):
    stream = Stream(uneven(), batch_size=4, seed=0, pad_id=0)
    assert check_accumulation(lora(), stream, build("objective", "sft"), tokens=1) < 1e-5


def test_accumulation_that_changes_the_loss_is_caught(lora):
    stream = Stream(uneven(), batch_size=4, seed=0, pad_id=0)
    with pytest.raises(GuardError, match="accumulation changes the gradient"):
        check_accumulation(lora(), stream, MeanSFT(), tokens=1)


class ShiftedSFT(SFT):
    """Learns each trained token from a state that has seen it."""

    def token_losses(self, model, batch, *, summed=False):
        losses, rows = super().token_losses(model, replace(batch, trained=batch.trained.roll(-1, 1)), summed=summed)
        return losses, rows


class NeighbourlySFT(SFT):
    """A row's loss depends on how many rows are beside it."""

    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return Loss(loss.total * len(batch.input_ids), loss.count)


@pytest.mark.parametrize(("objective", "told"), [
    (ShiftedSFT(), "computed plainly"), (NeighbourlySFT(), "together and of"), (MeanSFT(), "together and of")])
def test_a_loss_that_is_another_one_is_told_before_the_first_step(lora, data, fit, tmp_path, objective, told):
    model = lora()
    before = trainable_state(model)
    with pytest.raises(GuardError, match=told):
        fit(model, data, objective=objective)
    assert all(torch.equal(p, before[n]) for n, p in trainable(model).items())


def test_padding_that_an_encoder_attends_to(pooled, data, fit, monkeypatch):
    from scrimp.examples import batching

    whole = batching.collate

    def attended(*given, **named):
        made = whole(*given, **named)
        return replace(made, attention_mask=made.attention_mask * 0 + 1)

    with torch.no_grad():
        pooled.head.weight.mul_(100)  # so that what a classifier begins with is seen in its loss
    monkeypatch.setattr(batching, "collate", attended)
    with pytest.raises(GuardError, match="together and of"):
        fit(pooled, data, objective="classify")


def test_padding_that_hides_in_rounding(encoder_folder, data, fit, tmp_path, monkeypatch):
    """In bfloat16 a loss together and alone may differ by rounding; beside other tokens it may not differ at all."""
    from transformers import AutoModel

    from scrimp.checkpoints.heads import PooledClassifier
    from scrimp.examples import batching

    pooled = PooledClassifier(AutoModel.from_pretrained(encoder_folder, dtype=torch.bfloat16), ("no", "yes"))
    fit(build("adapter", "lora").attach(pooled), data, objective="classify")
    whole = batching.collate
    monkeypatch.setattr(batching, "collate", lambda *given, **named: replace(
        made := whole(*given, **named), attention_mask=made.attention_mask * 0 + 1))
    monkeypatch.setattr(beforehand, "check_loss", lambda *given, **named: None)
    pooled = PooledClassifier(AutoModel.from_pretrained(encoder_folder, dtype=torch.bfloat16), ("no", "yes"))
    with pytest.raises(GuardError, match="beside other tokens"):
        fit(build("adapter", "lora").attach(pooled), data, objective="classify", folder=tmp_path / "second")


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_see_a_little_of_the_rows_beside_them(causal_folder, data, fit, tmp_path, monkeypatch, dtype, fast):
    """So little that rounding could hide it, and not even by what the losses are together and alone."""
    from transformers import AutoModelForCausalLM

    from scrimp.tuning.objectives import tokens

    def model():
        return build("adapter", "lora").attach(AutoModelForCausalLM.from_pretrained(causal_folder, dtype=dtype))

    result = fit(model(), data, fast=fast)
    assert ("on the fast path" in result.computed) == fast
    whole = tokens.states_at
    monkeypatch.setattr(tokens, "states_at", lambda *given: (found := whole(*given)) + 0.05 * found.mean(dim=0))
    monkeypatch.setattr(beforehand, "check_loss", lambda *given, **named: None)
    with pytest.raises(GuardError, match="beside other tokens"):
        fit(model(), data, fast=fast, folder=tmp_path / "second")


def test_tokens_that_only_other_rows_have_are_estranged_and_come_back():
    embedding, own = torch.nn.Embedding(9, 3), Encoded(ids=[1, 2], trained=[False, True], target=None, row=0,
                                                       truncated=False)
    batch = SimpleNamespace(input_ids=torch.tensor([[1, 2, 0], [1, 5, 6]]))
    before = embedding(batch.input_ids)
    with beforehand.estranged(embedding, batch, own):
        other = embedding(batch.input_ids)
    strange = torch.tensor([[False, False, True], [False, True, True]])
    assert torch.equal(other[strange], -before[strange]) and torch.equal(other[~strange], before[~strange])
    assert torch.equal(embedding(batch.input_ids), before)


def test_two_rows_are_looked_at_that_fit_and_pad_each_other_if_they_can():
    assert beforehand.two_rows([5, 3, 9, 7], most=100) == (1, 3)
    assert beforehand.two_rows([5, 3, 9, 7], most=13) is None
    assert beforehand.two_rows([4, 4], most=8) == (0, 1)
    assert beforehand.two_rows([4], most=8) is None


def test_a_loss_may_change_by_rounding_alone():
    check_apart(2.0, 2.0 + 1e-5, tolerance=1e-5)
    for other in (2.0 + 1e-4, math.nan):
        with pytest.raises(GuardError, match="beside other tokens"):
            check_apart(2.0, other, tolerance=1e-5)


def test_a_seed_that_decides_nothing(lora, data, fit, monkeypatch):
    check_seed(Shuffled(12, batch_size=5, seed=1), Shuffled(12, batch_size=5, seed=2))
    check_seed(Shuffled(3, batch_size=1, seed=1), Shuffled(3, batch_size=1, seed=1))  # too few to tell
    first = Shuffled.__init__
    monkeypatch.setattr(Shuffled, "__init__", lambda self, count, *, batch_size, seed: first(
        self, count, batch_size=batch_size, seed=0))
    with pytest.raises(GuardError, match="in the same order"):
        fit(lora(), data)


def test_best_weights_that_are_not_put_back(lora, data, fit, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "put_back", lambda *given: None)
    fit(lora(), data, validate=iter([3.0, 2.0, 1.0]).__next__, validate_every=3)  # the last are the best
    with pytest.raises(GuardError, match="not those of the best step") as caught:
        fit(lora(), data, validate=iter([3.0, 1.0, 2.0]).__next__, validate_every=3, folder=tmp_path / "second")
    assert "lora_A" in caught.value.where


def test_an_optimizer_that_skips_its_steps(causal, data, fit, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: None)
    with pytest.raises(GuardError, match="moves nothing"):
        fit(causal, data)


def test_a_first_step_without_a_rate_proves_nothing():
    parameter = torch.nn.Parameter(torch.ones(3))
    guard = Unmoved({"a": parameter})
    parameter.grad = torch.tensor([0.0, 2.0, 1.0])
    for rate in (0.0, 0.0, 0.0, 0.0, 1e-3, 1e-3):
        guard.before()
        guard.after(rate)
    guard.before()
    parameter.data[1] -= 0.1
    guard.after(1e-3)
    for _ in range(5):
        guard.before()
        guard.after(1e-3)  # later steps are not looked at


def test_a_schedule_that_never_begins(causal, data, fit):
    class Never(type(build("schedule", "constant"))):
        def factor(self, step, steps):
            return 0.0

    with pytest.raises(GuardError, match="never above zero"):
        fit(causal, data, schedule=Never())


def test_a_frozen_weight_that_moves_is_told(lora, data, fit):
    model = lora()
    frozen = model.get_base_model().model.layers[1].mlp.up_proj.base_layer.weight

    def drifting() -> float:
        frozen.data[-1, -1] += 1e-3
        frozen.data[0, 0] += 1e-3
        return 1.0

    with pytest.raises(GuardError, match=r"1 tensors have moved that are frozen") as caught:
        fit(model, data, validate=drifting)
    assert "layers.1.mlp.up_proj" in caught.value.where
