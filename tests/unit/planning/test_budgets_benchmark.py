"""The benchmark of budgets: draws by number, what it keeps, and the figures that the page tells."""

import json
from types import SimpleNamespace

import pytest

from benchmarks.low_data.tasks import Draw
from benchmarks.planning import budgets, page

SCORES = {"rungs": [{"name": "lora", "skipped": None, "foreseen": {"wall_s": 8.0, "peak_memory": 90},
                     "bill": {"wall_s": 10.0, "peak_memory": 100, "cpu_s": 9.0}},
                    {"name": "late", "skipped": "no time", "foreseen": {"wall_s": 8.0, "peak_memory": None},
                     "bill": {"wall_s": 0.0, "peak_memory": 0, "cpu_s": 0.0}},
                    {"name": "words", "skipped": None, "foreseen": None,
                     "bill": {"wall_s": 1.0, "peak_memory": 80, "cpu_s": 1.0}}],
          "winner": "lora", "foreseen": {"wall_s": 30.0, "peak_memory": 120},
          "bill": {"wall_s": 20.0, "peak_memory": 100, "cpu_s": 19.0}}


def test_a_number_draws_the_same_run_and_four_of_five_are_short():
    drawn = [budgets.asked(number) for number in range(1, 101)]
    assert drawn == [budgets.asked(number) for number in range(1, 101)]
    assert sum(20 <= one.seconds <= 60 for one in drawn) == 80
    assert len({one.task for one in drawn}) == len(budgets.TASKS)


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """`measured` with a command that takes 24 of its seconds and leaves what a run leaves."""
    told = SimpleNamespace(seconds=24.0, answers=5, code=0)

    def run(command, folder, seconds, environment):
        if command[1] == "fit":
            (folder / "run").mkdir()
            (folder / "run" / "scores.json").write_text(json.dumps(SCORES))
        else:
            (folder / "answers.jsonl").write_text('{"label": "a"}\n' * told.answers)
        return SimpleNamespace(seconds=told.seconds, code=told.code, others=0.1, said="said")

    monkeypatch.setattr(budgets, "run", run)
    monkeypatch.setattr(budgets, "resolve", lambda name: None)
    monkeypatch.setattr(budgets, "draw", lambda *_: Draw([("a text", "a")], [("another", "b")] * 60))
    monkeypatch.setattr(page, "RESULTS", tmp_path / "budgets.jsonl")
    return told


@pytest.mark.parametrize(("seconds", "took", "kept"), [(20.0, 23.0, True), (20.0, 23.1, False), (100.0, 105.0, True),
                                                       (100.0, 105.1, False)])
def test_a_budget_is_kept_within_three_seconds_or_a_twentieth(tried, seconds, took, kept):
    tried.seconds = took
    assert budgets.measured(budgets.Asked(1, "films", 4, 50, seconds), 1)["kept"] is kept


@pytest.mark.parametrize(("answers", "code"), [(4, 0), (5, 1)])
def test_what_answers_too_few_rows_or_fails_is_of_no_use(tried, answers, code):
    tried.answers, tried.code = answers, code
    found = budgets.measured(budgets.Asked(1, "films", 4, 50, 30.0), 1)
    assert not found["of_use"] and found["said"] == "said"


def test_runs_that_are_kept_are_not_run_again(tried, tmp_path, capsys):
    out = tmp_path / "budgets.jsonl"
    budgets.main(["--runs", "2", "--out", str(out)])
    whole = out.read_text()
    budgets.main(["--runs", "2", "--out", str(out)])
    assert out.read_text() == whole and sorted(budgets.runs(out)) == [1, 2]
    budgets.main(["--runs", "3", "--out", str(out)])
    assert out.read_text().startswith(whole) and sorted(budgets.runs(out)) == [1, 2, 3]


def test_the_page_tells_what_was_kept_and_how_far_forecasts_were_off(tried, tmp_path):
    assert page.page() == ""
    budgets.main(["--runs", "10", "--out", str(tmp_path / "budgets.jsonl")])
    found = list(budgets.runs(tmp_path / "budgets.jsonl").values())
    assert list(page.errors(found, "ways", "wall_s")) == pytest.approx([-0.2] * 10)
    assert list(page.errors(found, "whole", "wall_s")) == pytest.approx([0.5] * 10)
    told = page.page()
    late = sum(one["seconds"] < 21 for one in found)
    assert f"| all | 10 | {10 - late} | 10 |" in told
    assert "| highest memory | a way | 10 | 10.0% | 10.0% | 0% |" in told
    assert "| seconds | a run | 10 | 50.0% | 50.0% | 100% |" in told
