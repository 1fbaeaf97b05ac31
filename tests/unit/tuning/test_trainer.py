import time

import pytest
import torch

from scrimp.core import interrupts
from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError, ModelError, OptionError, Stopped
from scrimp.core.ledger import Ledger
from scrimp.core.registry import build
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.objectives import SFT
from scrimp.tuning.optimizers import Optimizer
from scrimp.tuning.pace import Pace
from scrimp.tuning.trainer import TrainOptions, train
from scrimp.tuning.work import Work


class SlowSFT(SFT):
    """Takes its time."""

    seconds: float = 0.05

    def loss(self, model, batch):
        time.sleep(self.seconds)
        return super().loss(model, batch)


class HungrySFT(SFT):
    """Fails on batches of more than ``most`` padded tokens as an allocator does."""

    most: int = 60
    error: str = "memory"

    def loss(self, model, batch):
        torch.rand(1)  # a retried step must not see other random numbers
        if batch.input_ids.numel() > self.most:
            raise {"memory": MemoryError(), "torch": torch.OutOfMemoryError("out of memory"),
                   "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
                   "onednn": RuntimeError("could not create a primitive"),
                   "bug": RuntimeError("shapes do not match")}[self.error]
        return super().loss(model, batch)


class SGD(Optimizer):
    """Plain gradient descent."""

    rate: float = 0.5

    def build(self, named_parameters, steps):
        return torch.optim.SGD([p for _, p in named_parameters], lr=self.rate)


def moved(model):
    return torch.cat([t.flatten() for t in trainable_state(model).values()])


# the frozen, tiny output layer bounds what LoRA can reach at 4.7 nats of 5.9
@pytest.mark.parametrize(("adapter", "share"), [("lora", 0.85), ("full", 0.6)])
def test_training_lowers_the_loss_of_a_language_model(causal, data, fit, adapter, share):
    result = fit(build("adapter", adapter).attach(causal), data, steps=30, rate=1e-2)
    assert result.curve[-1].loss < share * result.curve[0].loss
    assert (result.steps, result.planned, result.stopped_by, result.best_step) == (30, 30, "plan", 30)


@pytest.mark.parametrize(("adapter", "rate"), [("lora", 3e-2), ("head", 0.3), ("full", 1e-2)])
def test_training_lowers_the_loss_of_a_classifier(pooled, data, fit, adapter, rate):
    pooled.encoder.to(torch.bfloat16)
    result = fit(build("adapter", adapter).attach(pooled), data, steps=20, rate=rate, objective="classify")
    assert result.curve[-1].loss < 0.6 * result.curve[0].loss


@pytest.mark.parametrize(("adapter", "share"), [("lora", 0.85), ("full", 0.6)])
def test_bfloat16_trains_float32_masters(causal, data, fit, adapter, share):
    model = build("adapter", adapter).attach(causal.to(torch.bfloat16))
    result = fit(model, data, steps=30, rate=1e-2)
    assert result.curve[-1].loss < share * result.curve[0].loss
    assert {p.dtype for p in trainable(model).values()} == {torch.float32}


def test_how_a_step_is_cut_changes_nothing(lora, data, fit, tmp_path):
    start = moved(lora())
    ends, losses = [], []
    for micro_tokens in (10_000, 50, 1):
        model = lora()
        result = fit(model, data, micro_tokens=micro_tokens, folder=tmp_path / str(micro_tokens), steps=4)
        ends.append(moved(model) - start)
        losses.append([p.loss for p in result.curve])
    for end, loss in zip(ends[1:], losses[1:], strict=True):
        assert (end - ends[0]).norm() < 1e-3 * ends[0].norm()
        assert loss == pytest.approx(losses[0], rel=1e-5)


def test_one_step_is_the_textbook_s(lora, data, fit):
    """The loss and weights after one update of plain SGD are those of a mean over all trained tokens of the step."""
    ours, theirs = lora(), lora()
    result = fit(ours, data, batch_size=len(data), steps=1, micro_tokens=30, optimizer=SGD(), schedule="constant",
                 clip=None)
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.ids) for e in data], batch_first=True)
    trained = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.trained) for e in data], batch_first=True)
    labels = torch.where(trained, ids, -100)
    loss = theirs(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
    loss.backward()
    factor = build("schedule", "constant").factor(0, 1)
    assert result.curve[0].loss == pytest.approx(loss.item(), rel=1e-5)
    for name, p in trainable(theirs).items():
        wanted = p.detach() - 0.5 * factor * p.grad
        assert torch.allclose(trainable(ours)[name], wanted, atol=1e-7), name


def test_clipping_bounds_the_update(lora, data, fit):
    start, model = moved(lora()), lora()
    fit(model, data, steps=1, optimizer=SGD(), schedule="constant", clip=1e-3)
    assert 0 < (moved(model) - start).norm() <= 0.5001e-3


def test_the_schedule_multiplies_the_rate(lora, data, fit):
    result = fit(lora(), data, schedule="linear", rate=0.01)
    linear = build("schedule", "linear")
    assert [p.learning_rate for p in result.curve] == pytest.approx([0.01 * linear.factor(i, 6) for i in range(6)])


def test_the_best_weights_by_validation_are_kept(lora, data, fit):
    seen, values = [], iter([5.0, 3.0, 1.0, 4.0])
    model = lora()

    def validate():
        assert not model.training
        seen.append(trainable_state(model))
        return next(values)

    result = fit(model, data, validate=validate, validate_every=2)
    assert (result.best_step, result.validation, result.validation_before) == (4, 1.0, 5.0)
    assert [p.validation for p in result.curve] == [None, 3.0, None, 1.0, None, 4.0]
    kept = trainable_state(model)
    assert all(torch.equal(kept[n], seen[2][n]) for n in kept)
    assert not result.warnings


def test_when_nothing_beats_the_start_it_is_kept_and_said(lora, data, fit):
    model = lora()
    start = moved(model)
    result = fit(model, data, validate=iter(range(10)).__next__, validate_every=3)
    assert result.best_step == 0
    assert torch.equal(moved(model), start)
    assert "no step was better" in result.warnings[0]


def test_patience(lora, data, fit):
    result = fit(lora(), data, validate=iter([3.0, 1.0, 2.0, 2.0, 0.0, 0.0]).__next__, validate_every=1, patience=2)
    assert (result.steps, result.stopped_by, result.best_step) == (3, "patience", 1)


def test_epochs_see_each_example_once(lora, data, fit, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    meter = Meter()
    options = TrainOptions(batch_size=5, epochs=2)
    result = train(lora(), data, pad_id=0, objective=build("objective", "sft"), optimizer=build("optimizer", "adamw"),
                   schedule=build("schedule", "cosine"), options=options, folder=tmp_path, meter=meter, ledger=ledger)
    assert result.steps == 6
    assert result.tokens == 2 * sum(len(e.ids) for e in data)
    assert meter.bill().tokens_backward == result.tokens
    assert [e["event"] for e in ledger.read()] == ["train started", "train finished"]


def test_operations_are_six_a_parameter_and_token_when_everything_moves(pooled, lora):
    work = Work.of(build("adapter", "full").attach(pooled))
    assert work.flops(10, 0) == pytest.approx(60 * work.body, rel=0.5)
    assert work.reached == work.body
    adapted = Work.of(lora())
    assert adapted.flops(10, 0) == pytest.approx(40 * adapted.body, rel=0.2)
    assert adapted.head == 64 * 400 or adapted.head > 0


def test_a_head_alone_reaches_nothing_below_it(pooled):
    work = Work.of(build("adapter", "head").attach(pooled))
    assert work.reached == work.moving == 2 * 64 + 2


def test_no_token_budget_is_exceeded_and_the_schedule_ends(lora, data, fit, tmp_path):
    ledger, meter = Ledger(tmp_path / "ledger.jsonl"), Meter(Budget(tokens=300))
    result = fit(lora(), data, steps=50, meter=meter, ledger=ledger, schedule="linear", rate=0.01)
    assert 0 < meter.bill().tokens_backward <= 300
    assert (result.stopped_by, result.planned) == ("tokens", 50)
    assert result.steps < 50
    assert result.curve[-1].learning_rate == pytest.approx(
        0.01 * build("schedule", "linear").factor(result.steps - 1, result.steps))
    assert ledger.read("train cut")[0]["to"] == result.steps


def test_a_token_budget_around_the_part_counts_too(lora, data, fit):
    whole = Meter(Budget(tokens=300))
    with whole.part() as part:
        assert fit(lora(), data, steps=50, meter=part).stopped_by == "tokens"
    assert whole.bill().tokens_backward <= 300


def test_a_budget_for_not_one_step_is_an_error(lora, data, fit):
    with pytest.raises(BudgetError, match="not one step"):
        fit(lora(), data, meter=Meter(Budget(tokens=3)))
    meter = Meter(Budget(time=0.001))
    time.sleep(0.01)
    with pytest.raises(BudgetError, match="not one step"):
        fit(lora(), data, meter=meter)


@pytest.mark.parametrize("budget", [1.5, 3.0])
def test_no_time_budget_is_exceeded_and_the_schedule_ends(lora, data, fit, tmp_path, budget):
    def validate():
        time.sleep(0.1)
        return -time.monotonic()

    model, ledger = lora(), Ledger(tmp_path / "ledger.jsonl")
    meter = Meter(Budget(time=budget))
    result = fit(model, data, steps=1000, meter=meter, ledger=ledger, objective=SlowSFT(), validate=validate,
                 validate_every=5, schedule="linear", rate=0.01)
    assert 0.6 * budget < meter.elapsed_s() < 1.05 * budget
    assert (result.stopped_by, result.planned) == ("time", 1000)
    assert result.curve[-1].validation is not None
    assert result.curve[-1].learning_rate < 0.2 * max(p.learning_rate for p in result.curve)
    assert ledger.read("train cut")[0]["budget"] == "time"


def test_what_comes_after_keeps_its_reserve(lora, data, fit):
    meter = Meter(Budget(time=3.0))
    fit(lora(), data, steps=1000, meter=meter, objective=SlowSFT(), reserve_s=1.5)
    assert 0.7 < meter.remaining_s() < 2.6


def test_a_continuation_keeps_to_the_cut_plan(lora, data, fit, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        asked = iter([False] * 8 + [True])
        patch.setattr(interrupts, "stop_requested", lambda: next(asked))
        with pytest.raises(Stopped) as stopped:
            fit(lora(), data, steps=1000, meter=Meter(Budget(time=3.0)), objective=SlowSFT())
    planned = int(stopped.value.what.split(" of ")[1].split(",")[0])
    assert planned < 1000
    result = fit(lora(), data, steps=1000, objective=SlowSFT())
    assert (result.steps, result.stopped_by) == (planned, "time")


def test_pace_counts_validations_and_checkpoints():
    pace = Pace(validation_s=2.0, saving_s=3.0)
    pace.record(9.0)  # warming up
    assert pace.next_s() == 14.0
    for _ in range(3):
        assert not pace.known
        pace.record(1.0)
    assert pace.known
    assert pace.next_s() == 6.0
    steps = pace.fitting(100, validate_every=4, save_every_s=30)
    assert steps * (1 + 0.1 + 0.5) + 5 <= 100 < (steps + 6) * (1 + 0.1 + 0.5) * 1.05 + 5
    assert pace.fitting(1, validate_every=4, save_every_s=30) == 0


@pytest.mark.parametrize("error", ["memory", "torch", "cpu", "onednn"])
def test_out_of_memory_is_met_with_smaller_parts(lora, data, fit, tmp_path, error):
    ledger, plain, hungry = Ledger(tmp_path / "ledger.jsonl"), lora(), lora()
    start = moved(plain)
    fit(plain, data, folder=tmp_path / "plain")
    fit(hungry, data, objective=HungrySFT(error=error), ledger=ledger)
    assert ledger.read("train shrunk")
    assert (moved(hungry) - moved(plain)).norm() < 1e-3 * (moved(plain) - start).norm()


def test_a_single_example_that_does_not_fit_is_told(lora, data, fit):
    with pytest.raises(BudgetError, match="single example"):
        fit(lora(), data, objective=HungrySFT(most=5))


def test_other_failures_are_not_taken_for_memory(lora, data, fit):
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(lora(), data, objective=HungrySFT(error="bug"))


def test_a_memory_budget_shrinks_the_parts_and_then_stops(lora, data, fit, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    result = fit(lora(), data, meter=Meter(Budget(memory=1_000_000)), ledger=ledger, steps=50)
    assert result.stopped_by == "memory"
    assert 0 < result.steps < 50
    assert [e["reason"] for e in ledger.read("train shrunk")] == ["memory budget"] * len(ledger.read("train shrunk"))


def test_nothing_to_train_is_an_error(causal, data, fit):
    causal.requires_grad_(False)
    with pytest.raises(ModelError, match="attach an adapter"):
        fit(causal, data)


@pytest.mark.parametrize("bad", [{"epochs": 2, "steps": 3}, {"epochs": 0}, {"checkpoint_every_s": "soon"}])
def test_bad_options(bad):
    with pytest.raises(OptionError):
        TrainOptions.parse(bad)
