"""What a pass is said to take is what it takes, and the error bar is as wide as what was measured scatters."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
import tiny

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.core.workspace import Workspace
from scrimp.examples.templates import Encoded
from scrimp.planning.passes import Pace, probe
from scrimp.signals import Signals
from scrimp.signals.gradients import GradientPass
from scrimp.signals.losses import LossPass
from scrimp.signals.passes import Found, Pass, by_length, run


class Sleeping(Pass):
    """A pass that takes what it is told: of each row its tokens."""

    kind, said, width = "sleeping", "sleeping", 5

    def __init__(self, opens_s, token_s, scatter=0.0):
        self.opens_s, self.token_s, self._chance, self._scatter = opens_s, token_s, np.random.default_rng(0), scatter
        self.slept = self.asked = 0.0

    def content(self, row):
        return row

    def lengths(self, rows):
        return list(rows)

    def lines(self, row):
        return 2

    def batches(self, lengths):
        return by_length(lengths, tokens=64)

    @contextmanager
    def opened(self):
        opens = [self.opens_s]

        def found(rows):
            before = time.perf_counter()
            asked = (opens.pop() if opens else 0.0) + self.token_s * sum(rows) * (
                1 + self._chance.uniform(-1, 1) * self._scatter)
            time.sleep(asked)
            self.slept += time.perf_counter() - before
            self.asked += asked
            return Found(np.zeros((2 * len(rows), 5), np.float32), sum(rows))

        yield found


def lengths(count, low=4, high=30):
    return np.random.default_rng(1).integers(low, high, count).tolist()


def foreseen(work, rows, seconds=0.5, prepare_s=0.0):
    def given(numbers):
        time.sleep(prepare_s * len(numbers))
        return [rows[i] for i in numbers]

    return probe(work, len(rows), given, seconds=seconds, seed=0)


def test_each_part_of_the_time_is_found():
    pace = foreseen(Sleeping(opens_s=0.6, token_s=1e-3), [16] * 4000, seconds=2, prepare_s=5e-3)
    assert pace.compute_s == pytest.approx(16e-3, rel=0.25)
    assert pace.prepare_s == pytest.approx(5e-3, rel=0.4)
    assert pace.start_s == pytest.approx(0.6, abs=0.2)
    assert 8 < pace.rows < 4000


def test_the_sum_is_linear_in_rows_and_workers_share_what_is_computed():
    pace = Pace(start_s=3.0, prepare_s=0.001, compute_s=0.5, doubt=0.1, row_bytes=100.0, rows=9, batches=3)
    found = pace.seconds(1000, 10)
    assert (found.value, found.low, found.high) == pytest.approx((3 + 1 + 50, 49, 59))
    assert pace.disk(1000) == 100_000 + 512
    alone = Pace(start_s=3.0, prepare_s=0.001, compute_s=0.5, doubt=None, row_bytes=100.0, rows=9, batches=1)
    assert alone.seconds(1000, 1).low is None


def test_the_interval_holds_what_it_should_and_widens_with_the_scatter():
    widths = []
    for rows, scatter in ((lengths(4000), 0.0), ([16] * 4000, 0.0), ([16] * 4000, 0.8)):
        work = Sleeping(0.0, 5e-4, scatter)
        pace = foreseen(work, rows, seconds=0.5)
        found = pace.seconds(len(rows), 1)
        later = work.slept / work.asked  # a machine that does other work wakes nobody in time
        assert found.low * 0.9 <= later * 5e-4 * sum(rows) <= found.high * 1.1
        widths.append(pace.doubt)
    assert widths[0] > widths[1] < 0.5 * widths[2]


def test_about_so_much_time_is_taken_and_a_slow_pass_is_measured_all_the_same():
    slow, quick = Sleeping(0.0, 2e-3), Sleeping(0.0, 2e-5)
    began = time.perf_counter()
    assert foreseen(slow, lengths(4000), seconds=0.5).batches >= 3
    assert foreseen(quick, lengths(4000), seconds=0.5).rows > 200
    assert time.perf_counter() - began < 5


def test_few_rows_are_enough_for_a_number_and_none_for_nothing():
    pace = foreseen(Sleeping(0.0, 1e-3), [5])
    assert (pace.rows, pace.batches, pace.doubt) == (1, 1, None)
    with pytest.raises(DataError, match="no row"):
        foreseen(Sleeping(0.0, 1e-3), [])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(resolve(tiny.causal(tmp_path_factory.mktemp("model"), hidden=128)), dtype="float32").model


@pytest.mark.parametrize("kind", [LossPass, lambda model: GradientPass(model, ".*layers.*proj.*", 64, 0)],
                         ids=["losses", "gradients"])
def test_a_pass_over_four_times_the_rows_takes_what_was_foreseen(model, kind):
    rng = np.random.default_rng(0)
    rows = [Encoded(rng.integers(3, 300, n).tolist(), [True] * n, row=i)
            for i, n in enumerate(rng.integers(20, 80, 4000))]
    meter = Meter()
    pace = probe(kind(model), 1000, lambda numbers: [rows[i] for i in numbers], seconds=2.0, seed=0, meter=meter)
    assert meter.bill().tokens_forward > 0
    more, began = rows[:4 * pace.rows], time.perf_counter()
    run(kind(model), more)
    took = time.perf_counter() - began
    assert 1 / 3 < took / pace.seconds(len(more), 1).value < 3  # other work on the machine comes and goes


def test_the_disk_holds_what_was_foreseen(model, tmp_path):
    rng = np.random.default_rng(0)
    rows = [Encoded(rng.integers(3, 300, n).tolist(), [True] * n, row=i) for i, n in enumerate([9] * 300)]
    signals = Signals(workspace=Workspace(tmp_path))
    signals.losses(model, rows)
    pace = probe(LossPass(model), len(rows), lambda numbers: [rows[i] for i in numbers], seconds=0.1, seed=0)
    held = sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))
    assert held == pytest.approx(pace.disk(len(rows)), rel=0.02)
