"""The benchmark of coverage: what it selects from, what it measures, and that it goes on where it was stopped."""

import json

import numpy as np
import pytest

from benchmarks.selection import coverage, material
from scrimp.data.selection.cells import unit


@pytest.fixture
def known(monkeypatch):
    """Sixty vectors in the place of embedded sentences, and choices made in this process."""
    vectors = unit(np.random.default_rng(0).standard_normal((60, 32)))
    monkeypatch.setattr(material, "sentences", lambda: vectors)
    monkeypatch.setattr(coverage, "apart", lambda name, file, keep, threads: coverage.one(name, file, keep))
    monkeypatch.setattr(coverage, "SMALL", 400)
    monkeypatch.setattr(coverage, "KEPT", (20,))
    monkeypatch.setattr(coverage, "LARGE_KEPT", (20_000,))
    return vectors


def test_every_sentence_comes_as_often_and_each_time_jittered(known, tmp_path):
    material.jittered(1500, tmp_path / "rows.npy")
    made = np.load(tmp_path / "rows.npy").astype(np.float32)
    assert made.shape == (1500, 32)
    apart = made.reshape(25, 60, 32) - known
    assert np.linalg.norm(apart, axis=2).mean() == pytest.approx(material.JITTER, rel=0.05)
    assert len(np.unique(made, axis=0)) == 1500
    material.jittered(100, tmp_path / "few.npy")
    few = unit(np.load(tmp_path / "few.npy"))
    assert set((few @ known.T).argmax(axis=1)) == {0, 1, 2, 3}  # as many copies in a small pool


def test_a_value_is_the_mean_likeness_to_the_nearest_kept_row():
    vectors = np.array([[1, 0], [0, 1], [1, 1], [0, -1]], dtype=np.float32)
    assert coverage.value(vectors, np.array([0]), 4) == pytest.approx((1 + 0 + 0.5**0.5 + 0) / 4)
    assert coverage.value(vectors, np.array([0, 1]), 4) == pytest.approx((1 + 1 + 0.5**0.5 + 0) / 4)


def test_exact_greedy_leads_and_what_is_known_is_not_measured_again(known, tmp_path, monkeypatch):
    out = tmp_path / "results.json"
    found = coverage.measured(out, 3000, 1)["runs"]
    small = found["400 rows, 20 kept"]
    assert small["chance"]["value"] < small["scrimp, stochastic"]["value"] <= small["exact"]["value"] * 1.01
    assert small["scrimp"]["value"] == pytest.approx(small["exact"]["value"])
    assert set(found["3000 rows, 60 kept"]) == {"scrimp", "chance"}
    assert "100.00% of exact, 100.0% over chance" in coverage.told(found)
    monkeypatch.setattr(coverage, "apart", lambda *asked: pytest.fail("it is known"))
    assert coverage.measured(out, 3000, 1)["runs"] == found == json.loads(out.read_text())["runs"]
    assert coverage.begun(out, rows=2000)["runs"] == {}  # what was measured otherwise is not gone on with
