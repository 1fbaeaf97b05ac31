"""The curves of selection on real rows: what pools hold, and that a language model's passes are what is on the bill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.selection import curves as bench
from benchmarks.selection.curves_arms import ARMS
from benchmarks.selection.curves_pools import EPOCHS, POOLS, SHAPE, TARGET, Language, domains, films, instructions
from scrimp.core.assets import obtain
from scrimp.evidence import Lab
from scrimp.examples.datasets import DATASETS

pytestmark = pytest.mark.integration


def test_one_row_in_ten_teaches_the_target_which_is_not_in_the_pool() -> None:
    for draw in (domains, instructions):
        first, again, other = (draw(Lab(seed), 200) for seed in (0, 0, 1))
        assert len(first.pool) == len(first.good) == 200
        assert first.good.sum() == 20
        assert len(first.target) == TARGET
        assert first.pool.fingerprint == again.pool.fingerprint != other.pool.fingerprint
        rows = [tuple(sorted(row.items())) for part in (first.pool, first.target, first.test) for row in part.rows]
        assert len(set(rows)) == len(rows)


def test_additions_are_right_where_they_are_said_to_be() -> None:
    drawn = instructions(Lab(2), 200)
    sums = [(row, good) for row, good in zip(drawn.pool.rows, drawn.good, strict=True) if row["prompt"].endswith("=")]
    assert len(sums) == 40
    for row, good in sums:
        first, second = map(int, row["prompt"].rstrip(" =").split("+"))
        assert (int(row["completion"]) == first + second) == good


def test_three_labels_in_ten_are_turned_and_none_of_those_that_are_given() -> None:
    right = dict(pair for part in DATASETS["vader-films"].load(obtain("vader")) for pair in part)
    drawn = films(Lab(0), 2000)
    assert 0.67 < drawn.good.mean() < 0.73
    assert len(drawn.target) == 64
    for rows, good in ((drawn.pool, drawn.good), (drawn.target, np.ones(64, dtype=bool))):
        told = np.array([row["label"] == right[row["text"]] for row in rows.rows])
        assert (told == good).mean() > 0.998  # a few sentences are there twice, with another label


def test_passes_over_rows_are_what_is_on_the_bill() -> None:
    lab = Lab(0, smoke=True)
    drawn = domains(lab, 40)
    learner = Language(lab, drawn, 1e-3)
    weights = sum(value.numel() for value in lab.language_model(**SHAPE).parameters())
    rows = learner.signals().encoded(drawn.pool)
    tokens = sum(len(row.ids) for row in rows)
    _, looked = bench.chosen("loss", drawn, learner, 0)
    assert looked.flops == pytest.approx(2 * weights * tokens)
    _, looked = bench.chosen("facility-location", drawn, learner, 0)
    assert looked.flops == pytest.approx(2 * weights * looked.tokens_forward)
    assert looked.tokens_forward == pytest.approx(tokens, rel=0.05)  # no end of text is read
    _, trained = learner.taught(drawn.pool, len(drawn.pool))
    assert trained == pytest.approx(6 * weights * tokens * EPOCHS, rel=0.05)
    _, anew = learner.taught(drawn.pool, len(drawn.pool) // 2, anew=True)
    assert anew == pytest.approx(trained / 2, rel=0.05)  # two epochs of halves are one of the whole


def test_every_arm_of_a_language_model_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PARTS", (2,))
    pool = replace(POOLS["instructions"], rows=40, settings=(1e-3,))
    found = bench.measured(tmp_path / "curves.json", {"instructions": pool}, seeds=1, smoke=True)
    names = {name.split("/")[1] for name in found["cells"]}
    assert names == set(pool.arms)
    for name, cell in found["cells"].items():
        arm = name.split("/")[1]
        free = ARMS[arm].kind == "ceiling" or arm in ("random", "redrawn", "longest", "target", "quality-classifier")
        assert (cell["selecting"] == 0) == free
        assert np.isfinite(cell["quality"])
        assert cell["training"] > 0
