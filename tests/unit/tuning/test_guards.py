"""Each guard with its fault planted."""

import math

import pytest
import torch

from scrimp.core.errors import GuardError
from scrimp.core.ledger import Ledger
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.guards import DeadGradient, check_accumulation, fault
from scrimp.tuning.objectives import SFT, Loss
from scrimp.tuning.stream import Stream


class PoisonedSFT(SFT):
    """Multiplies the losses of some calls (from 0)."""

    calls: tuple[int, ...] = ()
    by: str = "nan"
    _seen: int = -1

    def loss(self, model, batch):
        self._seen += 1
        loss = super().loss(model, batch)
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
