"""The curves of selection: what is on a bill, what a lead is, and that a stopped benchmark goes on to the same end."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.selection import curves as bench
from benchmarks.selection import curves_pools, curves_told
from benchmarks.selection.curves_page import digest, page, publish
from benchmarks.selection.curves_pools import Drawn, Frozen, Known, Pool
from scrimp.core.budget import Bill
from scrimp.evidence import Lab
from scrimp.examples.formats import read

ROWS, WIDTH, WORK = 64, 8, 10.0


def frozen_pool(rows: int = ROWS) -> Pool:
    """Labels that a direction tells, three in ten of them turned, with embeddings that cost ten operations a text."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows + 48, WIDTH)).astype(np.float32)
    texts = [f"text {i}" for i in range(len(features))]
    right = np.where(features[:, 0] > 0, "positive", "negative")
    known = dict(zip(texts, features, strict=True)), dict.fromkeys(texts, WORK)

    def labelled(part, labels):
        return read([{"text": texts[i], "label": str(label)} for i, label in zip(part, labels, strict=True)])

    def draw(lab, count):
        turned = lab.rng.random(count) < 0.3
        given = np.where(turned, np.where(right[:count] == "positive", "negative", "positive"), right[:count])
        return Drawn(labelled(range(count), given), labelled(range(rows, rows + 16), right[rows:rows + 16]),
                     labelled(range(rows + 16, rows + 48), right[rows + 16:]), ~turned)

    def learner(lab, drawn, strength):
        return Frozen(lab, drawn, strength, lambda: Known(*known))

    return Pool("Points.", "accuracy", "higher", rows, draw, learner, (
        "random", "longest", "target", "oracle", "nearest", "label-noise"), (1.0, 16.0))


@pytest.fixture
def pools(monkeypatch):
    made = {"points": frozen_pool()}
    monkeypatch.setattr(curves_pools, "POOLS", made)
    monkeypatch.setattr("benchmarks.selection.curves_page.POOLS", made)
    return made


def cells_of(found, arm, size):
    return [cell for name, cell in found["cells"].items() if name.split("/")[1] == arm and name.endswith(f"/{size}")]


def without_seconds(found):
    return {name: {key: value for key, value in cell.items() if key != "selecting_s"}
            for name, cell in found["cells"].items()}


def test_frozen_rows_are_paid_for_once_and_looking_pays_for_all_others(pools, tmp_path):
    found = bench.measured(tmp_path / "curves.json", pools, seeds=1)
    for size in (2, 4, 8, 16, 32):
        by_chance, = cells_of(found, "random", size)
        assert (by_chance["training"], by_chance["selecting"]) == (WORK * size, 0)
        near, = cells_of(found, "nearest", size)  # embeds the pool and the target
        assert (near["training"], near["selecting"]) == (WORK * size, WORK * (ROWS - size + 16))
        noise, = cells_of(found, "label-noise", size)  # embeds the pool alone
        assert noise["selecting"] == WORK * (ROWS - size)
        given, = cells_of(found, "target", size)
        assert (given["training"], given["selecting"]) == (WORK * min(size, 16), 0)
    assert cells_of(found, "random", ROWS)[0]["training"] == WORK * ROWS
    assert all(cell["good"] == 1 for cell in cells_of(found, "oracle", 32))


def test_a_text_is_billed_when_it_is_first_asked_for():
    signals = Known({"a": np.ones(2), "b": np.zeros(2)}, {"a": 3.0, "b": 4.0})
    signals.embeddings([{"text": "a"}, {"text": "a"}])
    assert signals.meter.bill().flops == 3
    signals.embeddings([{"text": "b"}, {"text": "a"}])
    assert signals.meter.close().flops == 7


def test_what_training_pays_for_is_no_extra_and_a_free_choice_has_none():
    learner = Frozen(Lab(0), frozen_pool().draw(Lab(0), ROWS), 1.0, lambda: Known({}, {}))
    assert learner.extra(Bill(flops=100.0), 30.0) == 70
    assert learner.extra(Bill(), 30.0) == 0


def test_a_stopped_benchmark_goes_on_to_the_same_cells(pools, tmp_path, monkeypatch):
    whole = bench.measured(tmp_path / "whole.json", pools, seeds=2)
    part, learned = tmp_path / "part.json", []
    taught = Frozen.taught

    def stopping(self, rows, size, **kind):
        learned.append(size)
        if len(learned) == 17:
            raise KeyboardInterrupt
        return taught(self, rows, size, **kind)

    monkeypatch.setattr(Frozen, "taught", stopping)
    with pytest.raises(KeyboardInterrupt):
        bench.measured(part, pools, seeds=2)
    kept = json.loads(part.read_text())
    assert len(kept["cells"]) == 14  # and two settings were tried
    learned.clear()
    learned += [0] * 17
    again = bench.measured(part, pools, seeds=2)
    assert len(learned) - 17 == len(whole["cells"]) - 14
    assert without_seconds(again) == without_seconds(whole)
    assert again == json.loads(part.read_text())
    assert {name: again["cells"][name] for name in kept["cells"]} == kept["cells"]
    learned.clear()
    assert bench.measured(part, pools, seeds=2) == again
    assert learned == []
    assert bench.Record(part, seeds=3).found["cells"] == {}  # measured otherwise: begun anew


def curve(sizes, quality, training, selecting=0.0):
    quality, training = np.array(quality, dtype=float), np.array(training, dtype=float)
    return curves_told.Curve(tuple(sizes), quality, training, np.full(quality.shape, float(selecting)),
                             np.ones(quality.shape), 0.0)


CHANCE = curve((1, 2, 4), [[0.1, 0.2, 0.3]] * 3, [[10, 20, 40]] * 3)


def test_a_control_is_worth_what_its_curve_is_there_or_was_before():
    cost = np.array([20.0, 20.0, 20.0])
    assert curves_told.worth([CHANCE], cost) == pytest.approx([0.2] * 3)
    assert curves_told.worth([CHANCE], np.full(3, 20 * 2**0.5)) == pytest.approx([0.25] * 3)
    assert curves_told.worth([CHANCE], np.full(3, 1000.0)) == pytest.approx([0.3] * 3)
    tired = curve((1, 2), [[0.5, 0.0]] * 3, [[10, 80]] * 3)  # would have stopped
    assert curves_told.worth([CHANCE, tired], np.full(3, 40.0)) == pytest.approx([0.5] * 3)
    dear = curve((1, 2), [[0.5, 0.9]] * 3, [[10, 20]] * 3, selecting=1000)
    assert curves_told.worth([dear], cost) == pytest.approx([0.5] * 3)  # no cheaper offer: its first
    assert curves_told.worth([dear], cost, math.inf) == pytest.approx([0.9] * 3)


def test_a_selection_pays_once_enough_trainings_share_it():
    quality = [[0.15 + by, 0.25 + by, 0.35 + by] for by in (-0.001, 0, 0.001)]
    better = curve((1, 2, 4), quality, [[10, 20, 40]] * 3, selecting=20)
    found = {"random": CHANCE, "x": better}
    assert [one.verdict for one in curves_told.standings(found, "x", ("random",), uses=math.inf)] == [1, 1, 1]
    paid = curves_told.standings(found, "x", ("random",))
    # at a cost of 30, 40 and 60 chance is worth 0.258, 0.3 and 0.3
    assert [one.cost for one in paid] == [30, 40, 60]
    assert [one.ahead for one in paid] == pytest.approx([0.15 - 0.1 * math.log2(6), 0.25 - 0.3, 0.05], abs=1e-9)
    assert [one.verdict for one in paid] == [-1, -1, 1]
    assert curves_told.cheapest(found, "x", ("random",)) == 1
    two = {"random": CHANCE, "x": replace(better, quality=better.quality[:, :2], sizes=(1, 2),
                                          training=better.training[:, :2], selecting=better.selecting[:, :2])}
    shared = curves_told.cheapest(two, "x", ("random",))
    assert shared == 4
    assert all(one.verdict <= 0 for one in curves_told.standings(two, "x", ("random",), uses=shared / 2))
    worse = {"random": CHANCE, "x": replace(better, quality=better.quality - 0.2)}
    assert curves_told.cheapest(worse, "x", ("random",)) is None


def test_the_page_says_what_was_measured_and_only_words_that_were_written_for_it(pools, tmp_path):
    found = bench.measured(tmp_path / "curves.json", pools, seeds=2)
    words = tmp_path / "words.md"
    words.write_text(f"{digest(found)}\n\nWhat it comes to.")
    publish(found, tmp_path, words)
    told = (tmp_path / "selection-curves.md").read_text()
    assert "What it comes to." in told
    assert "![quality over total cost, points](selection-curves-points.svg)" in told
    drawn = (tmp_path / "selection-curves-points.svg").read_text()
    assert drawn.count("<polygon") == 2 * 4  # of each panel, chance and the arm
    assert "nan" not in drawn
    assert "What it comes to." not in page(found, "0123\n\nWhat it comes to.")
    oracle = next(line for line in told.splitlines() if line.startswith("| oracle |") and "0.00" in line)
    assert "100% to 100%" in oracle
