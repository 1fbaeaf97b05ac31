"""`compare`: what each run is asked, what is added, searched and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from unit.reports import compared as made

import scrimp
from scrimp.cli.app import main
from scrimp.core.errors import BudgetError, DataError, OptionError, WorkspaceError
from scrimp.recipes.arms import load_arms
from scrimp.recipes.calls import Call
from scrimp.verbs import alone

ROWS = [{"text": f"a {('good', 'bad')[n % 2]} film, number {n}", "label": ("positive", "negative")[n % 2]}
        for n in range(24)]


@pytest.fixture
def place(tmp_path: Path, causal_folder: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCRIMP_WORKSPACE", str(tmp_path / "space"))
    monkeypatch.chdir(tmp_path)
    for name, rows in (("train", ROWS[:16]), ("test", ROWS[16:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path, "a", "tune: {rank: 2, steps: 2}", model=causal_folder)
    write(tmp_path, "b", f"select: {{keep: 50%, method: random}}\n  - tune: {{rank: 4, steps: 2}}\nencoder: "
                         f"{encoder_folder}", model=causal_folder)
    return tmp_path


def write(folder: Path, name: str, step: str, *, model: object = "m", rest: str = "",
          data: str = "train: train.jsonl, test: test.jsonl") -> None:
    (folder / f"{name}.yaml").write_text(f"model: {model}\ndata: {{{data}}}\nsteps:\n  - {step}\n{rest}\n")


class Fake:
    """A process that answers at once: the better the higher the rank and the learning rate."""

    def __init__(self) -> None:
        self.asked: list[list[Call]] = []
        self.fails: set[str] = set()

    def __call__(self, folder: Path, calls: Sequence[Call]) -> None:
        self.asked.append(list(calls))
        learn = calls[-1]
        rung = (learn.options.get("rungs") or ["lora"])[0]
        if rung in self.fails:
            raise BudgetError("too short")
        method = learn.options.get("method", {})
        value = 0.5 + 0.01 * method.get("rank", 0) + method.get("learning_rate", 0.0)
        found = made.trial(rung if rung != "lora" else "arm", learn.options["seed"], value)
        rows = [{"text": "t", "label": "positive"}] * 8
        said = [{"label": "positive" if n < 8 * value else "negative"} for n in range(8)]
        (folder / alone.ANSWER).write_text(json.dumps(
            {"trial": found.model_dump(mode="json"), "rows": rows, "said": said}))


@pytest.fixture
def fake(place: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = Fake()
    monkeypatch.setattr(alone, "run", found)
    return found


def learned(fake: Fake, verb: str) -> list[Call]:
    return [calls[-1] for calls in fake.asked if calls[-1].verb == verb]


def test_all_arms_have_the_same_seeds_and_budget_and_controls_stand_beside_them(fake: Fake, place: Path) -> None:
    found = scrimp.compare(("a.yaml", "b.yaml"), seeds=3, budget="1m", out=place / "out")
    assert [arm.name for arm in found.arms] == ["a", "b", "untouched", "word-counts", "frozen-features",
                                                "features-and-words"]
    calls = learned(fake, "tune") + learned(fake, "fit")
    assert {call.options["budget"]["time"] for call in calls} == {60}
    assert sorted(call.options["seed"] for call in calls) == sorted([0, 1, 2] * 6)
    assert [c.options["rungs"] for c in learned(fake, "fit")[:3]] == [
        ("untouched",), ("word-counts",), ("frozen-features",)]
    assert found.choice.best == "b"
    assert found.difference("b", "a").value == pytest.approx(0.02)
    assert found.bill.wall_s == pytest.approx(18 * 10)


def test_it_leaves_a_page_a_record_and_a_file_for_each_run(fake: Fake, place: Path) -> None:
    assert main(["compare", "a.yaml", "b.yaml", "--seeds", "2", "--budget", "1m"]) == 0
    out = place / "comparison"
    assert json.loads((out / "comparison.json").read_text())["advice"].startswith("Use ")
    assert len(list((out / "results").glob("*.json"))) == 12
    assert "Use " in (out / "report.html").read_text()


def test_recipes_are_named_by_text_or_path_one_or_several(fake: Fake, place: Path) -> None:
    one = scrimp.compare(place / "a.yaml", seeds=2, out=place / "one")
    both = scrimp.compare([place / "a.yaml", "b.yaml"], seeds=2, out=place / "both")
    assert [len(found.arms) for found in (one, both)] == [5, 6]


def test_nothing_is_run_twice(fake: Fake, place: Path) -> None:
    first = scrimp.compare(("a.yaml", "b.yaml"), seeds=2, out=place / "out")
    count = len(fake.asked)
    assert scrimp.compare(("a.yaml", "b.yaml"), seeds=2, out=place / "out").bill == first.bill
    assert len(fake.asked) == count
    scrimp.compare(("a.yaml", "b.yaml"), seeds=3, out=place / "out")
    assert len(fake.asked) == count + 6
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:14]))
    scrimp.compare(("a.yaml", "b.yaml"), seeds=2, out=place / "out")
    assert len(fake.asked) == count + 6 + 12


def test_what_a_selection_finds_is_found_anew_for_each_run(fake: Fake, place: Path) -> None:
    scrimp.compare(("b.yaml",), seeds=2, out=place / "out")
    selects = [call for calls in fake.asked for call in calls if call.verb == "select"]
    assert len({call.options["workspace"] for call in selects}) == len(selects) == 2
    assert {call.options["page"] for call in selects} == {"none"}


def test_every_arm_that_tunes_tries_as_many_settings_on_rows_of_the_training(fake: Fake, place: Path) -> None:
    write(place, "c", "tune: {rank: 1, steps: 2}", model=load_arms([place / "a.yaml"])[0].recipe.model,
          rest="search: {rank: [1, 8, 3]}")
    found = scrimp.compare(("a.yaml", "c.yaml"), seeds=2, out=place / "out")
    assert found.tries == 3
    assert [len(found.arm(name).tried) for name in ("a", "c", "untouched")] == [3, 3, 0]
    assert found.arm("c").chosen == {"rank": 8}
    assert found.arm("c").mean("quality") == pytest.approx(0.58)
    searched = [call for call in learned(fake, "tune") if call.options["seed"] == 1000]
    assert len(searched) == 6
    seen = {text for call in searched for file in (call.options["data"], call.options["test"])
            for text in Path(file).read_text().splitlines()}
    assert {json.loads(text)["text"] for text in seen} == {row["text"] for row in ROWS[:16]}


def test_a_seed_that_fails_is_told_and_left_out(fake: Fake, place: Path) -> None:
    fake.fails.add("word-counts")
    found = scrimp.compare(("a.yaml",), seeds=2, out=place / "out")
    assert found.arm("word-counts").failed == {0: "too short", 1: "too short"}
    assert any("word-counts has no result with seed 0" in told for told in found.warnings)
    assert found.difference("a", "untouched") is not None
    assert "word-counts, unfinished" in found.parts  # what came to nothing is on the bill too


def test_no_time_for_a_run_is_told(fake: Fake, place: Path) -> None:
    with pytest.raises(DataError, match="no arm finished"):
        scrimp.compare(("a.yaml",), seeds=2, budget="5m", within="1m", out=place / "out")
    assert not fake.asked


@pytest.mark.parametrize(("options", "hint"), [
    ({"seeds": 1}, "two to a hundred"), ({"seeds": "3,3"}, "two to a hundred"), ({"seeds": "999-1001"}, "1000"),
    ({"seeds": "some"}, "seeds are written"), ({"recipes": ("a.yaml", "a.yaml")}, "given twice"),
    ({"bugdet": "5m"}, "did you mean 'budget'"), ({"recipes": ("a.yaml", "d.yaml")}, "measured on other rows"),
    ({"recipes": ("a.yaml", "e.yaml")}, "metrics differ"), ({"recipes": ("f.yaml",)}, "learning_rte"),
    ({"recipes": ("untouched.yaml",)}, "name of a control"), ({"recipes": ("g.yaml",)}, "no tune step|there is none"),
])
def test_what_cannot_be_compared_is_refused_before_anything_is_run(fake: Fake, place: Path, options: dict,
                                                                   hint: str) -> None:
    write(place, "d", "tune: {steps: 2}", data="train: train.jsonl, test: train.jsonl")
    write(place, "e", "tune: {steps: 2}", rest="metric: macro-f1")
    write(place, "f", "tune: {steps: 2}", rest="search: {learning_rte: [1, 2]}")
    write(place, "untouched", "tune: {steps: 2}")
    write(place, "g", "fit: {}", rest="search: {rank: [1, 2]}")
    with pytest.raises(OptionError, match=hint):
        scrimp.compare(**{"recipes": ("a.yaml",), "out": place / "out", **options})
    assert not fake.asked


def test_too_few_rows_to_hold_any_out_are_told(fake: Fake, place: Path) -> None:
    write(place, "h", "tune: {steps: 2}", data="train: train.jsonl")
    with pytest.raises(DataError, match="none are held out"):
        scrimp.compare(("h.yaml",), out=place / "out")


def test_somebody_elses_folder_is_refused(fake: Fake, place: Path) -> None:
    with pytest.raises(WorkspaceError, match="no comparison"):
        scrimp.compare(("a.yaml",), out=place)
