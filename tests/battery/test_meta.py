"""What every meta-learner must do, third parties' included."""

from __future__ import annotations

import copy
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from scrimp.core.registry import Preset, presets
from scrimp.tuning import trainer
from scrimp.tuning.meta import Episode, InContextTuning, Reader

pytestmark = pytest.mark.parametrize("preset", presets("meta"), ids=lambda p: p.name)

KNOWN, WAY, SHOTS, WIDTH = 6, 2, 3, 5
WORDS = ("positive", "negative", "spam", "ham", "label", "text")


class Passes(torch.autograd.Function):
    """The identity, which counts rows on the way there and back."""

    generate_vmap_rule = True
    seen = Counter[str]()

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        Passes.seen["forward"] += len(x)
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        Passes.seen["backward"] += len(gradients[0])
        return gradients[0].clone()


class Counted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Passes.apply(x)


def reads(preset: Preset) -> bool:
    return issubclass(preset.method, InContextTuning)


@pytest.fixture
def method(preset: Preset) -> Any:
    """With the least work there is."""
    if reads(preset):
        return preset.build({"batch_size": 4, **({} if preset.options.get("episodes") == 0 else {"episodes": 64})})
    return preset.build({"meta_steps": 8, "tasks_per_step": 1})  # one, for vmap shows a module one of several


@pytest.fixture
def model(preset: Preset, causal_folder: Path) -> nn.Module:
    if reads(preset):
        return Reader(AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32),
                      AutoTokenizer.from_pretrained(causal_folder))
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 8), Counted(), nn.Tanh(), nn.Linear(8, WAY))


@pytest.fixture
def tasks(preset: Preset) -> Any:
    def numbers(rng: np.random.Generator) -> Episode:
        known = rng.permutation(KNOWN)[:WAY]
        labels = np.repeat(np.arange(WAY), SHOTS)
        centres = np.eye(KNOWN, WIDTH) * 3 - 1
        support, query = ((centres[known[labels]] + 0.1 * rng.normal(size=(len(labels), WIDTH))).astype(np.float32)
                          for _ in range(2))
        return Episode(support, labels, query, labels, known_as=known, known=KNOWN)

    def texts(rng: np.random.Generator) -> Episode:
        known = rng.permutation(KNOWN)[:WAY]
        labels = rng.permutation(np.repeat(np.arange(WAY), SHOTS))
        return Episode([f"film {WORDS[known[c]]}" for c in labels], labels, [f"film {WORDS[known[0]]}"], np.array([0]),
                       words=("one", "two"), instruction="classify")

    return texts if reads(preset) else numbers


def bits(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_predicts_after_learning_and_leaves_no_trace(method: Any, model: nn.Module, tasks: Any) -> None:
    learner = method.fit(model, tasks)
    before = bits(model)
    one, other = tasks(np.random.default_rng(7)), tasks(np.random.default_rng(8))
    first = learner.predict(one)
    assert first.shape == (len(one.query_y), WAY)
    assert np.isfinite(first).all()
    learner.predict(other)
    assert np.array_equal(learner.predict(one), first)
    assert torch.equal(bits(model), before)
    assert not model.training or all(not m.training for m in model.modules() if not isinstance(m, Reader))


def test_the_same_seed_gives_the_same_bits_and_chance_is_left_alone(method: Any, model: nn.Module, tasks: Any) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    models = [copy.deepcopy(model) for _ in range(2)]
    for one in models:
        method.fit(one, tasks, seed=4)
    assert torch.equal(*map(bits, models))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_what_it_learned_is_in_the_model(method: Any, model: nn.Module, tasks: Any) -> None:
    untouched = copy.deepcopy(model)
    method.fit(model, tasks)
    cost = method.cost()
    assert (bits(model).shape == bits(untouched).shape and torch.equal(bits(model), bits(untouched))) == (
        cost.backward == 0)


def test_its_cost_is_what_it_says(preset: Preset, method: Any, model: nn.Module, tasks: Any,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer._Run, "check_losses", lambda self: None)  # of two rows, however few
    drawn = Counter[str]()

    def counting(rng: np.random.Generator) -> Episode:
        episode = tasks(rng)
        if reads(preset):
            drawn["units"] += len(method.text(model, episode, episode.query_x[0], 0).ids)
        else:
            drawn["units"] += len(episode.support_x) + len(episode.query_x)
        return episode

    Passes.seen.clear()
    if reads(preset):
        _count_tokens(model)
    method.fit(model, counting)
    cost = method.cost()
    for way, declared in (("forward", cost.forward), ("backward", cost.backward)):
        assert Passes.seen[way] / max(drawn["units"], 1) == pytest.approx(declared, rel=0.2)


def _count_tokens(reader: Any) -> None:
    def count(module: nn.Module, given: Any, out: torch.Tensor) -> torch.Tensor:
        return Passes.apply(out.flatten(0, 1).requires_grad_()).view_as(out)

    reader.model.get_input_embeddings().register_forward_hook(count)
