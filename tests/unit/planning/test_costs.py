"""What a moment of training tells about the whole of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scrimp.core.budget import Bill, Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.examples.templates import Encoded
from scrimp.planning import costs
from scrimp.planning.costs import Probe, fits_memory, largest_batch, leaner, probe_training
from scrimp.tuning.options import TrainOptions, TrainResult
from scrimp.tuning.plan import TunePlan

PROBE = Probe(tokens_per_s=50.0, resting_memory=80 << 20, fixed_memory=20 << 20, memory_per_token=1 << 20)


@pytest.mark.parametrize(("rows", "expected"), [(1, 50), (4, 200), (40, 1000)])
def test_what_is_computed_at_once_is_the_rows_of_a_step_or_the_limit(rows: int, expected: int) -> None:
    data = [Encoded([1] * length, [True] * length) for length in (10, 50, 20)]
    assert largest_batch(TrainOptions(micro_tokens=1000), data, rows=rows) == expected
    assert largest_batch(TrainOptions(micro_tokens=30), data, rows=rows) == 50


def test_seconds_and_memory_are_extrapolated() -> None:
    assert PROBE.seconds(1000) == 20.0
    assert PROBE.peak_at(200) == 300 << 20
    assert PROBE.peak_at(400) == 500 << 20


def test_micro_batches_shrink_until_they_fit_and_no_further_than_makes_sense() -> None:
    plan = TunePlan.parse({"micro_tokens": 1024})
    assert fits_memory(PROBE, plan, Budget(), longest=50).options.micro_tokens == 1024
    assert fits_memory(PROBE, plan, Budget(memory=400 << 20), longest=50).options.micro_tokens == 256
    assert fits_memory(PROBE, plan, Budget(memory=400 << 20), longest=290).options.micro_tokens == 290
    with pytest.raises(BudgetError, match="needs about 164 MiB"):
        fits_memory(PROBE, plan, Budget(memory=120 << 20), longest=50)
    with pytest.raises(BudgetError, match="longest row has 2000 tokens"):
        fits_memory(PROBE, plan, Budget(memory=400 << 20), longest=2000)


def test_a_step_within_the_backward_pass_is_not_cut() -> None:
    plan = TunePlan.parse({"micro_tokens": 256, "step_in_backward": True, "clip": None})
    assert fits_memory(PROBE, plan, Budget(memory=400 << 20), longest=50).options.micro_tokens == 256
    with pytest.raises(BudgetError, match="needs about 356 MiB"):
        fits_memory(PROBE, plan, Budget(memory=300 << 20), longest=50)


def test_a_step_whose_rows_are_compared_is_not_cut_and_no_larger_than_it_is() -> None:
    plan = TunePlan.parse({"objective": "contrastive", "batch_size": 4, "micro_tokens": 8192})
    assert fits_memory(PROBE, plan, Budget(memory=400 << 20), longest=50).options.micro_tokens == 200
    with pytest.raises(BudgetError, match="needs about"):
        fits_memory(PROBE, plan, Budget(memory=400 << 20), longest=500)


def test_leaner_plans_come_in_the_order_of_what_they_cost() -> None:
    plans = list(leaner(TunePlan.parse({"adapter": "full"})))
    assert [(plan.options.recompute, plan.flat().get("chunk", 256), plan.flat().get("state_bits", 32))
            for plan in plans] == [
        (False, 256, 32), (True, 64, 32), (True, 64, 8)]
    assert all(plan.options.micro_tokens == plans[0].options.micro_tokens for plan in plans)
    assert len(list(leaner(TunePlan.parse({"optimizer": "galore", "recompute": True})))) == 1
    few = list(leaner(TunePlan.parse({"chunk": 8})))
    assert [plan.flat()["chunk"] for plan in few] == [8] * len(few)  # fewer are never made more


@pytest.mark.parametrize(("adapter", "fixed"), [("lora", 0), ("full", 3)])
def test_memory_is_parted_into_what_is_fixed_and_what_each_token_takes(
        adapter: str, fixed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose memory is that of its weights' gradients and moments and of so much a token."""
    rng = np.random.default_rng(0)
    model = TunePlan.parse({"adapter": adapter}).attach(tiny())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    rows = [Encoded(rng.integers(0, 200, length).tolist(), [True] * length) for length in [20] * 12 + [60] * 12]
    peaks: list[int] = []

    class Counted(Meter):
        def bill(self) -> Bill:
            return super().bill().model_copy(update={"peak_memory": peaks[-1]})

        @contextmanager
        def part(self, *_: object, **__: object) -> Iterator[Meter]:
            yield Counted()

    def took(self: TunePlan, model: object, data: Sequence[Encoded], **given: object) -> TrainResult:
        at_once = largest_batch(self.options, data, rows=self.options.batch_size)
        peaks.append((1 << 30) + fixed * weights + (1 << 16) * at_once)
        return train(self, model, data, **given)

    train = TunePlan.train
    monkeypatch.setattr(TunePlan, "train", took)
    monkeypatch.setattr(costs, "resident_bytes", lambda: 1 << 30)
    plan = TunePlan.parse({"adapter": adapter, "batch_size": 8, "micro_tokens": 240})
    probe = probe_training(model, rows, pad_id=0, plan=plan, folder=tmp_path, meter=Counted())
    assert len(peaks) == 2 and max(peaks) == (1 << 30) + fixed * weights + (1 << 16) * 240
    assert probe.fixed_memory == pytest.approx(fixed * weights, abs=1 << 16)
    assert probe.memory_per_token == pytest.approx(1 << 16, rel=0.01)
    short = probe_training(model, rows, pad_id=0, plan=plan, folder=tmp_path, meter=Counted(), rows=6)
    assert len(peaks) == 3 and short.fixed_memory == 0 and short.peak_at(120) == pytest.approx(peaks[2], rel=1e-6)


@pytest.mark.parametrize(("count", "most", "size", "expected"), [
    (8, 16, 8, range(1, 9)),                   # all of few, as what is repeated is computed once
    (8, 3, 3, (3, 4, 5)),                      # the typical ones of more
    (100, 4, 4, [26 + i * 50 // 12 for i in range(12)]),  # of many, others for each step
    (1, 5, 1, (1,)),
    (100, math.inf, 19, [22 + i * 58 // 57 for i in range(57)])])  # a step of no more than a thousand tokens
def test_what_is_timed_are_typical_rows_none_of_them_twice(count: int, most: float, size: int,
                                                           expected: Sequence[int]) -> None:
    data = [Encoded([1] * length, [True] * length) for length in range(count, 0, -1)]
    portion, found = costs._portion(data, most)
    assert ([len(row.ids) for row in portion], found) == (list(expected), size)


@pytest.mark.parametrize(("then", "above", "expected"), [
    (400, 500, 1.0), (110, 500, 500 / 110), (400, 100, 0.0)])  # told apart; too near to tell; less for more tokens
def test_no_token_takes_more_than_all_that_was_seen(then: int, above: int, expected: float) -> None:
    assert costs._per_token(100, 200, then, above) == pytest.approx(expected)


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                        num_attention_heads=2, num_key_value_heads=2))
