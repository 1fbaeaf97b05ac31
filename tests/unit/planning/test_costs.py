"""What a moment of training tells about the whole of it."""

from __future__ import annotations

import pytest

from scrimp.core.budget import Budget
from scrimp.core.errors import BudgetError
from scrimp.examples.templates import Encoded
from scrimp.planning.costs import Probe, fits_memory, largest_batch
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.trainer import TrainOptions

PROBE = Probe(tokens_per_s=50.0, peak_memory=300 << 20, resting_memory=100 << 20, micro_tokens=200)


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
