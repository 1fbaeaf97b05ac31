"""What every sampling must do, third parties' included."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from transformers import AutoModelForCausalLM

from scrimp.core.budget import Meter
from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.sampling import Answer, Feed

pytestmark = pytest.mark.parametrize("preset", presets("sampling"), ids=lambda p: p.name)

STEPS, BATCH = 40, 4


def rows(count: int) -> list[Encoded]:
    draw = random.Random(count)
    lengths = [draw.randrange(3, 40) for _ in range(count)]
    return [Encoded([draw.randrange(3, 60) for _ in range(n)], [True] * n, row=i) for i, n in enumerate(lengths)]


def losses(step: int, indices: list[int]) -> Mapping[int, float]:
    """What a run might have had: examples differ, and all get easier."""
    return {i: (i * 7 % 11 + 1) / (1 + 0.1 * step) for i in indices}


def answer(groups: Mapping[str, list[int]], step: int) -> Answer:
    found = {name: losses(step, list(group)) for name, group in groups.items()}
    means = {name: float(np.mean(list(each.values()))) for name, each in found.items()}
    return Answer({i: value for each in found.values() for i, value in each.items()}, means,
                  {(a, b): means[a] * means[b] for a in means for b in means})


def go(feed: Feed, steps: range, after: Callable[[int], None] = lambda step: None) -> list[list[int]]:
    """Do as the trainer does."""
    seen = []
    for step in steps:
        if (question := feed.ask(step)) is not None:
            feed.told(step, answer({name: list(group) for name, group in question.groups.items()}, step))
        seen.append(feed.indices(step))
        assert feed.indices(step) == seen[-1]
        feed.see(step, losses(step, seen[-1]) if feed.wants_losses else {})
        after(step)
    return seen


def made(preset: Preset, count: int, seed: int = 0) -> Feed:
    feed = preset.build().feed(rows(count), batch_size=BATCH, seed=seed)
    feed.planned = STEPS
    return feed


@pytest.mark.parametrize("count", [1, 3, 50])
def test_each_step_has_examples_and_not_too_many(preset: Preset, count: int) -> None:
    feed, lengths = made(preset, count), [len(row.ids) for row in rows(count)]
    assert feed.steps_per_epoch >= 1
    for step in go(feed, range(STEPS)):
        assert step
        assert all(0 <= i < count for i in step)
        assert len(step) * max(lengths[i] for i in step) <= BATCH * max(lengths)


def test_the_seed_decides(preset: Preset) -> None:
    assert go(made(preset, 50), range(STEPS)) == go(made(preset, 50), range(STEPS))
    assert go(made(preset, 50), range(STEPS)) != go(made(preset, 50, seed=1), range(STEPS))


def test_from_any_step_it_goes_on_as_if_nothing_had_been(preset: Preset) -> None:
    states = {}
    feed = made(preset, 50)
    whole = go(feed, range(STEPS), lambda step: states.update({step + 1: copy.deepcopy(feed.state())}))
    for start, state in states.items():
        again = made(preset, 50)
        again.adopt(state)
        assert go(again, range(start, STEPS)) == whole[start:]


def test_what_is_foreseen_comes_true(preset: Preset) -> None:
    feed = made(preset, 50)
    foreseen = [feed.foreseen(step) for step in range(STEPS)]
    whole = go(feed, range(STEPS))
    assert all(said in (None, found) for said, found in zip(foreseen, whole, strict=True))
    assert go(made(preset, 50), range(STEPS)) == whole


def test_its_cost_is_what_it_says(preset: Preset, causal_folder: Path, tmp_path: Path) -> None:
    plan = TunePlan.parse({"adapter": "full", "sampling": preset.name, "batch_size": BATCH, "steps": STEPS,
                           "fast": False})
    model: nn.Module = plan.attach(AutoModelForCausalLM.from_pretrained(causal_folder))
    data = [Encoded(one.ids[:3], one.trained[:3], row=one.row) for one in rows(50)]  # of one length
    meter, cost = Meter(), plan.sampling.cost()
    assert plan.train(model, data, pad_id=0, folder=tmp_path, meter=meter).steps == STEPS
    bill, trained = meter.bill(), 3 * BATCH * STEPS
    assert 0.5 * trained <= bill.tokens_backward <= trained * (1 + cost.backward)
    assert bill.tokens_forward <= 1.1 * bill.tokens_backward * (1 + cost.forward)
