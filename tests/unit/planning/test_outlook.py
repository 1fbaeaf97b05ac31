from __future__ import annotations

import random

import pytest

import scrimp
from scrimp.evaluation.outcome import Outcome
from scrimp.planning import outlook
from scrimp.planning.outlook import sizes
from scrimp.reports import story

WORDS = {"positive": [f"good{i}" for i in range(60)], "negative": [f"bad{i}" for i in range(60)]}


def labelled(count: int) -> list[dict[str, str]]:
    """Rows of three words, one of which tells the label, so that each new row brings new words."""
    draw = random.Random(0)
    return [{"text": f"{draw.choice(WORDS[label])} x{draw.randrange(9)} y{draw.randrange(9)} {n}", "label": label}
            for n in range(count) for label in [list(WORDS)[n % 2]]]


@pytest.fixture
def fit(tmp_path, causal_folder, encoder_folder):
    def run(rows, **options) -> Outcome:
        return scrimp.fit(rows, model=str(causal_folder), encoder=str(encoder_folder), out=tmp_path / "run",
                          workspace=tmp_path / "space", rungs="word-counts", **{"budget": "10m", **options})

    return run


def test_sizes_are_halves_and_never_too_small() -> None:
    assert sizes(256, 2) == [16, 32, 64, 128, 256]
    assert sizes(100, 10) == [25, 50, 100]
    assert sizes(31, 2) == []


def test_what_twice_the_labels_would_buy_is_measured_billed_and_told(fit, tmp_path) -> None:
    outcome = fit(labelled(80))
    found = outcome.outlook
    assert found is not None
    assert (found.rows, found.twice) == (80, 160)
    counts = [size for size, _ in found.measured]
    assert sorted(set(counts)) == [8, 16, 32, 64]
    assert counts.count(8) == counts.count(16) == 4
    assert (64, outcome.best.validation.value) in found.measured
    assert found.then.low <= found.then.value <= found.then.high <= 1
    assert found.then.value > found.now - 1e-9
    assert outcome.parts["learning curve"].wall_s > 0
    again = Outcome.load(tmp_path / "run" / "scores.json")
    assert again.outlook == found
    page = (tmp_path / "run" / "report.html").read_text()
    assert story.outlook(outcome) in page and "What twice the labels would buy" in page


def test_it_is_left_out_where_there_is_no_time_or_too_little_to_tell(fit, monkeypatch) -> None:
    assert fit(labelled(30), force=True).outlook is None
    monkeypatch.setattr(outlook, "_SHARE_OF_TIME", 0.0)
    outcome = fit(labelled(80), force=True)
    assert outcome.outlook is None and "learning curve" not in outcome.parts
    assert story.outlook(outcome) is None
