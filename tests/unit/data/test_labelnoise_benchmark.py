"""The benchmark of wrong labels: what it plants, what it measures, and the page that shows it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.selection import labelnoise, page


def test_mistakes_are_as_many_as_asked_for_and_go_where_they_should():
    labels, rng = np.arange(20_000) % 5, np.random.default_rng(0)
    flipped = labelnoise.uniform(0.2)(labels, rng)
    assert (flipped != labels).mean() == pytest.approx(0.2, abs=0.01)
    assert len(set(zip(labels[flipped != labels], flipped[flipped != labels], strict=True))) == 20
    flipped = labelnoise.by_class(labels, rng)
    moved = set(zip(labels[flipped != labels], flipped[flipped != labels], strict=True))
    assert len(moved) == len({given for _, given in moved}) == 5  # each label becomes one other, and each one differs
    shares = [(flipped != labels)[labels == k].mean() for k in range(5)]
    assert max(shares) <= 0.42 and np.ptp(shares) > 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), min_size=1, max_size=30, unique_by=lambda row: row[1]))
def test_precision_is_that_of_as_few_rows_as_hold_so_many_mistakes(rows):
    wrong, scores = (np.array(column) for column in zip(*rows, strict=True))
    ranked = [mistaken for mistaken, _ in sorted(rows, key=lambda row: row[1])]
    for found in range(1, int(wrong.sum()) + 1):
        few = next(k for k in range(1, len(rows) + 1) if sum(ranked[:k]) == found)
        assert labelnoise.precision_at(wrong.astype(bool), scores, found) == found / few


def test_the_page_compares_by_seed(tmp_path, monkeypatch):
    wrong = np.arange(8) < 3
    better, worse = np.arange(8.0), np.array([5, 0, 1, 2, 3, 4, 6, 7.0])
    told = labelnoise.told(wrong, wrong & (np.arange(8) > 0), {"scrimp": better, "cleanlab": worse})
    assert told["named"] == {"recall": pytest.approx(2 / 3), "precision": 1.0}
    assert told["rankings"]["scrimp"] == {"average precision": 1.0, "precision": 1.0}
    seeds = {str(seed): {"same probabilities": told, "each as it comes": told} for seed in range(3)}
    found = {"settings": {"rows": 8, "seeds": [0, 1, 2]}, "versions": {"cleanlab": "2"},
             "runs": {"digits": {"uniform": seeds}}}
    (tmp_path / "labelnoise.json").write_text(json.dumps(found))
    monkeypatch.setattr(page, "_HERE", tmp_path)
    shown = page.page()
    theirs = told["rankings"]["cleanlab"]["average precision"]
    assert f"| digits | uniform | 1.000 | 1.000 | +0.000 (+0.000 to +0.000) | 1.000 | {theirs:.3f} |" in shown
    assert "cleanlab 2" in shown and "Facility location" not in shown
