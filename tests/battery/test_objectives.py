"""What every objective must do, third parties' included."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.budget import Meter
from scrimp.core.registry import Preset, build, presets
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable
from scrimp.tuning.objectives import ClassifyEach, Objective, TorchBatch
from scrimp.tuning.trainer import TrainOptions, train

pytestmark = pytest.mark.parametrize("preset", presets("objective"), ids=lambda p: p.name)

PROMPT, ANSWER = 6, 3


def rows(count: int = 4) -> list[Encoded]:
    """Of one length, so that nothing is padded; each with a class, a score, an answer, and a second one."""
    def one(n: int, first: int) -> Encoded:
        ids = [10 + n % 2, *range(20 + n, 19 + n + PROMPT), first, first + n % 2, 2]
        return Encoded(ids, [False] * PROMPT + [True] * ANSWER, target=n % 2, row=n, wanted=(float(n % 2),))

    return [replace(one(n, 100), second=one(n, 120)) for n in range(count)]


@pytest.fixture
def start(preset: Preset, causal_folder: Path, encoder_folder: Path) -> nn.Module:
    """A model that the objective is of, all of which moves."""
    model: Any
    if preset.method.pooled:
        encoder = AutoModel.from_pretrained(encoder_folder, dtype=torch.float32)
        heads: dict[str, dict[str, Any]] = {"label": {"labels": ("no", "yes")},
                                            "labels": {"labels": ("odd",), "threshold": 0.5},
                                            "score": {"labels": (), "scale": (0.5, 0.5)}}
        several = issubclass(preset.method, ClassifyEach)
        model = PooledClassifier(encoder, **heads["labels" if several else preset.method.answers])
    else:
        model = AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32)
    return build("adapter", "full").attach(model)


def ready(objective: Objective, model: nn.Module, data: list[Encoded]) -> list[Encoded]:
    return objective.prepare(model, data, pad_id=0, micro_tokens=1000)


def batch_of(data: list[Encoded]) -> TorchBatch:
    return TorchBatch.of(collate(data, pad_id=0), torch.device("cpu"))


def gradient(model: nn.Module, total: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(total, list(trainable(model).values()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


@pytest.fixture
def parted(preset: Preset) -> None:
    """The rows of a step stand for themselves."""
    if preset.method.joint:
        pytest.skip("a step is one part")


@pytest.mark.usefixtures("parted")
def test_a_batch_is_the_sum_of_its_examples(preset: Preset, start: nn.Module) -> None:
    objective = preset.build()
    data = ready(objective, start, rows())
    whole, apart = objective.loss(start, batch_of(data)), [objective.loss(start, batch_of([one])) for one in data]
    assert whole.count == sum(one.count for one in apart) == sum(map(objective.supervised, data)) > 0
    assert whole.total.dtype == torch.float32
    assert whole.total.item() == pytest.approx(sum(one.total.item() for one in apart), rel=1e-4)
    sums = torch.stack([gradient(start, one.total) for one in apart]).sum(0)
    assert (gradient(start, whole.total) - sums).norm() < 1e-3 * sums.norm()


@pytest.mark.usefixtures("parted")
def test_the_losses_of_rows_are_the_loss(preset: Preset, start: nn.Module) -> None:
    objective = preset.build()
    data = ready(objective, start, rows())
    each, apart = objective.losses(start, batch_of(data)), [objective.loss(start, batch_of([one])) for one in data]
    assert each.counts.tolist() == [one.count for one in apart]
    assert each.sums.tolist() == pytest.approx([one.total.item() for one in apart], rel=1e-4)
    wanted = gradient(start, objective.loss(start, batch_of(data)).total)
    assert (gradient(start, each.sums.sum()) - wanted).norm() < 1e-4 * wanted.norm()


def test_padding_changes_nothing(preset: Preset, start: nn.Module) -> None:
    objective = preset.build()
    short, long = rows(2)
    long = replace(long, ids=[5] * 9 + long.ids, trained=[False] * 9 + long.trained)
    data = ready(objective, start, [short, long])
    together = objective.loss(start, batch_of(data)).total.item()
    assert together == pytest.approx(sum(objective.loss(start, batch_of([one])).total.item() for one in data), rel=1e-4)


def test_half_precision_gives_a_float32_loss_close_to_it(preset: Preset, start: nn.Module) -> None:
    objective = preset.build()
    data = ready(objective, start, rows())
    wanted = objective.loss(start, batch_of(data)).total
    with torch.autocast("cpu", torch.bfloat16):
        found = preset.build().loss(start, batch_of(data)).total
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=0.05)
    assert gradient(start, found).isfinite().all()


def test_without_gradients_it_is_the_same_number(preset: Preset, start: nn.Module) -> None:
    objective = preset.build()
    data = ready(objective, start, rows())
    with torch.inference_mode():
        found = objective.loss(start, batch_of(data)).total
    assert found.item() == pytest.approx(objective.loss(start, batch_of(data)).total.item(), rel=1e-5)


def test_it_trains_the_same_bits_twice_and_leaves_chance_alone(preset: Preset, start: nn.Module,
                                                               tmp_path: Path) -> None:
    before, ends = torch.get_rng_state(), []
    for name in ("a", "b"):
        model = copy.deepcopy(start)
        result = train(model, rows(), pad_id=0, objective=preset.build(), folder=tmp_path / name, meter=Meter(),
                       optimizer=build("optimizer", "adamw", {"learning_rate": 1e-3}),
                       schedule=build("schedule", "constant"),
                       options=TrainOptions.parse({"steps": 6, "batch_size": 4}))
        ends.append(torch.cat([p.detach().flatten() for p in trainable(model).values()]))
    assert result.curve[-1].loss < result.curve[0].loss
    assert torch.equal(*ends)
    assert torch.equal(torch.get_rng_state(), before)


def test_its_cost_is_what_it_says(preset: Preset, start: nn.Module) -> None:
    objective = preset.build()
    objective.loss(start, batch_of(ready(objective, start, rows())))  # finds out once what kind of model this is
    passed = Counter[str]()
    base: Any = start.encoder if isinstance(start, PooledClassifier) else start

    def count(module: nn.Module, given: Any, out: torch.Tensor) -> None:
        passed["forward"] += out.shape[:2].numel()
        if out.requires_grad:
            out.register_hook(lambda _: passed.update(backward=out.shape[:2].numel()))

    with torch.enable_grad():
        hook = base.get_input_embeddings().register_forward_hook(count)
        data = ready(objective, start, rows())
        objective.loss(start, batch_of(data)).total.backward()
        hook.remove()
    tokens, cost = sum(one.tokens for one in data), objective.cost()
    assert (passed["forward"], passed["backward"]) == (cost.forward * tokens, cost.backward * tokens)
