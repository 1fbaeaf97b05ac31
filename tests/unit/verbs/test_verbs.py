"""Verbs: options from one class, the output folder is guarded, and a run leaves what it must."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.reports.sample import classification

import scrimp
from scrimp import verbs
from scrimp.core.errors import DataError, OptionError, ScrimpError, WorkspaceError
from scrimp.core.options import Options
from scrimp.core.registry import presets
from scrimp.core.workspace import Workspace
from scrimp.evaluation.outcome import Outcome
from scrimp.recipes.calls import calls
from scrimp.recipes.schema import load


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[verbs.Verb]:
    """A ladder that notes what it is asked, and leaves a record, a ledger and a model."""
    seen: list[verbs.Verb] = []

    def learn(request: verbs.Learn) -> Outcome:
        seen.append(request)
        outcome = classification()
        outcome.save(request.out / "scores.json")
        (request.out / "ledger.jsonl").write_text("{}\n")
        (request.out / "model").mkdir(exist_ok=True)
        return outcome

    monkeypatch.setattr("scrimp.planning.ladder.climb", learn)
    monkeypatch.setattr("scrimp.planning.ladder.tune", learn)
    return seen


def test_fit_in_python_and_in_a_recipe_ask_the_same_and_leave_the_same(asked: list[verbs.Verb], tmp_path: Path) -> None:
    scrimp.fit(tmp_path / "a.csv", budget="5m", seed=3, out=tmp_path / "python", columns="text=x,label=y")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {train: a.csv, columns: {text: x, label: y}}\nbudget: 5m\nseeds: [3]\nout: yaml\n")
    (outcome,) = scrimp.run(recipe)
    first, second = asked
    assert second.model_copy(update={"out": first.out}) == first
    assert first.columns == {"text": "x", "label": "y"}
    assert first.budget.time == 300
    assert outcome == classification()
    for folder in (tmp_path / "python", tmp_path / "yaml"):
        assert sorted(path.name for path in folder.iterdir()) == [
            "ledger.jsonl", "model", "recipe.yaml", "report.html", "scores.json"]


def test_the_winners_recipe_asks_for_the_winner(asked: list[verbs.Verb], tmp_path: Path) -> None:
    scrimp.fit("a.csv", out=tmp_path / "run", seed=5)
    (call,) = calls(load(tmp_path / "run" / "recipe.yaml"), tmp_path / "run", tmp_path / "again")
    best = classification().best
    assert call.verb == "tune"
    assert verbs.Tune.parse(call.options).method == dict(best.chosen)
    assert call.options["seed"] == 5


def test_tune_takes_choices_by_name_or_as_a_mapping(asked: list[verbs.Verb], tmp_path: Path) -> None:
    scrimp.tune("a.csv", out=tmp_path / "a", adapter="lora", rank=4)
    scrimp.tune("a.csv", out=tmp_path / "a", method={"adapter": "lora", "rank": 4})
    assert asked[0] == asked[1]
    assert asked[0].method == {"adapter": "lora", "rank": 4}
    assert asked[0].budget.time is None


@pytest.mark.parametrize(("options", "hint"), [
    ({"rnak": 4}, "'rnak'"), ({"bugdet": "5m"}, "did you mean 'budget'"), ({"rank": "many"}, "'rank'"),
    ({"adapter": "lroa"}, "lora"), ({"method": "lora", "rank": 2}, "'method'"),
])
def test_tune_refuses_what_no_plan_knows(asked: list[verbs.Verb], tmp_path: Path, options: dict, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        scrimp.tune("a.csv", out=tmp_path / "a", **options)
    assert not asked
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("options", "what"), [
    ({"steps": 8, "epochs": 1}, "give 'epochs' or 'steps', not both"), ({"epochs": "x"}, "'epochs'"),
])
def test_no_other_name_is_proposed_for_what_has_the_right_one(asked, tmp_path: Path, options: dict, what: str) -> None:
    with pytest.raises(OptionError) as caught:
        scrimp.tune("a.csv", out=tmp_path / "a", **options)
    assert caught.value.what.startswith(what)
    assert caught.value.fix == "scrimp methods lists the choices"


@pytest.mark.parametrize(("options", "hint"), [
    ({"bugdet": "5m"}, "did you mean 'budget'"), ({"budget": "soon"}, "no duration"), ({"budget": {"tiem": 1}}, "tiem"),
    ({"budget": "time=1m,memory"}, "key=value"), ({"columns": "text"}, "key=value"), ({"layout": "table"}, "layout"),
    ({"seed": -1}, "seed"), ({"on_bad_row": "ignore"}, "on_bad_row"), ({"data": 5}, "data"),
])
def test_fit_refuses_what_it_does_not_know(asked: list[verbs.Verb], tmp_path: Path, options: dict, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        scrimp.fit(**{"data": "a.csv", "out": tmp_path / "a", **options})
    assert not asked


@pytest.mark.parametrize("call", [
    lambda: scrimp.fit("a.csv"), lambda: scrimp.fit(), lambda: scrimp.fit("a", "b", out="c")])
def test_missing_and_extra_arguments_are_told_as_options(call) -> None:
    with pytest.raises(OptionError):
        call()


def test_a_folder_that_is_somebody_elses_is_refused(asked: list[verbs.Verb], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(WorkspaceError, match="no scrimp run"):
        scrimp.fit("a.csv", out=tmp_path)
    assert not asked
    scrimp.fit("a.csv", out=tmp_path, force=True)
    scrimp.fit("a.csv", out=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(WorkspaceError, match="is no folder"):
        scrimp.fit("a.csv", out=tmp_path / "thesis.tex")


def test_several_seeds_have_a_folder_each(asked: list[verbs.Verb], tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: a.csv\nseeds: [1, 2]\nsteps: [{tune: {rank: 2}}]\n")
    assert len(scrimp.run(recipe, workspace=tmp_path / "ws")) == 2
    assert [(r.seed, r.out, r.workspace) for r in asked] == [
        (seed, tmp_path / "r" / f"seed-{seed}", tmp_path / "ws") for seed in (1, 2)]


def test_the_workspace_is_the_environments_or_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRIMP_WORKSPACE", str(tmp_path))
    assert verbs.Clean.parse({}).workspace == verbs.Clean.parse({"workspace": None}).workspace == tmp_path
    monkeypatch.delenv("SCRIMP_WORKSPACE")
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path))
    assert verbs.Clean.parse({}).workspace == tmp_path / "workspace"
    monkeypatch.delenv("SCRIMP_CACHE")
    assert verbs.Clean.parse({}).workspace.parent.name == "scrimp"


def test_clean_shows_and_frees_only_when_told(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    for n in range(3):
        space.step("fit", {"n": n}, lambda folder: (folder / "x").write_bytes(b"x" * 1000))
    assert len(scrimp.clean(workspace=tmp_path).steps) == 3
    assert not scrimp.clean(workspace=tmp_path).freed
    assert len(scrimp.clean(workspace=tmp_path, quota="1500B", yes=True).freed) == 2
    assert len(scrimp.clean(workspace=tmp_path, yes=True).freed) == 1
    assert not scrimp.clean(workspace=tmp_path).steps


def test_methods_lists_every_paper_with_its_names() -> None:
    rows = scrimp.methods()
    assert [row.id for row in rows] == list(range(1, 587))
    known = {f"{p.family}/{p.name}" for p in presets() if p.papers}
    assert {name for row in rows for name in row.names} == known
    assert all(row.status != "planned" for row in rows if row.names)
    assert all(row.status == "planned" for row in rows if not row.names and not row.claims)


@pytest.mark.parametrize(("asked", "passes"), [
    ({"family": "adapt.delta"}, lambda row: row.family == "adapt.delta"),
    ({"family": "structure"}, lambda row: row.family.startswith("structure.")),
    ({"paper": 577}, lambda row: row.names == ("merging/dare", "merging/dare-ties")),
    ({"status": "planned"}, lambda row: not row.names),
    ({"needs": "base"}, lambda row: any(name.startswith("merging/") for name in row.names)),
    ({"costs": "nothing", "family": "merging"}, lambda row: row.costs == ("nothing",)),
])
def test_methods_filters_papers(asked: dict[str, Any], passes: Callable[[Any], bool]) -> None:
    rows = scrimp.methods(**asked)
    assert rows and all(map(passes, rows))


def test_methods_lists_a_family_and_finds_a_method_by_its_name() -> None:
    assert {page.name for page in scrimp.methods("merging")} == {p.name for p in presets("merging")}
    (page,) = scrimp.methods("dare")
    assert page.papers[577].startswith("Language Models are Super Mario")
    assert page.needs == ("base",) and "arithmetic" in page.costs
    assert [claim.name for claim in page.evidence] == ["dare"]
    with pytest.raises(OptionError, match="did you mean 'dare'"):
        scrimp.methods("daer")


def test_every_method_has_a_page_with_a_call() -> None:
    for preset in presets():
        (page,) = scrimp.methods(preset.family, preset.name)
        assert page.text and page.costs and (page.calls or preset.family == "metric"), preset
        assert preset.name in page.calls["Python"], preset
        assert all(option.description for option in page.options), preset


def test_methods_describes_one() -> None:
    (page,) = scrimp.methods("adapter", "lora")
    assert {option.name: option.default for option in page.options}["rank"] == 8
    assert all(option.description for option in page.options)
    assert "Hu et al." in page.text
    assert "Attributes" not in page.text
    assert set(page.calls) == {"Python", "YAML", "shell"}
    with pytest.raises(OptionError, match="lora"):
        scrimp.methods("adapter", "lroa")


def test_the_schema_is_written(tmp_path: Path) -> None:
    schema = scrimp.schema(out=tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == schema


def test_sample_writes_rows_that_can_be_learned_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "movieReviewSnippets_GroundTruth.txt").write_text(
        "".join(f"{n}\t{(-1) ** n * 2.5}\tfilm number {n}\n" for n in range(80)))
    monkeypatch.setattr("scrimp.examples.datasets.obtain", lambda name: tmp_path)
    train, test = scrimp.sample("vader-films", out=tmp_path / "data", per_class=4, test=5)
    labels = [json.loads(line)["label"] for line in train.read_text().splitlines()]
    assert sorted(labels) == ["negative"] * 4 + ["positive"] * 4
    assert len(test.read_text().splitlines()) == 5
    with pytest.raises(OptionError, match="vader-films"):
        scrimp.sample("vader-flims", out=tmp_path / "data")


@pytest.mark.parametrize("verb", verbs.VERBS.values(), ids=lambda verb: verb.named())
def test_every_verb_is_described_where_people_look(verb: type[verbs.Verb]) -> None:
    function = getattr(scrimp, verb.named())
    listed = inspect.signature(function).parameters
    assert [name for name in listed if name != verb.rest] == list(verb.listed())
    assert verb.examples
    for name, field in verb.listed().items():
        assert field.description, name
        assert f"{name}: " in function.__doc__
    assert issubclass(verb, Options)


@pytest.mark.parametrize("call", [
    lambda folder: scrimp.predict(folder, "a.csv"), lambda folder: scrimp.evaluate(folder, "a.csv"),
    lambda folder: scrimp.export(folder, out=folder / "x"), lambda folder: scrimp.run(folder),
    lambda folder: scrimp.run(folder / "no.yaml"), lambda folder: scrimp.inspect(folder / "no.csv"),
])
def test_what_is_not_there_is_told(call, tmp_path: Path) -> None:
    with pytest.raises(ScrimpError) as caught:
        call(tmp_path)
    assert caught.value.where


def test_importing_scrimp_is_quick_and_loads_nothing() -> None:
    code = ("import sys, time; start = time.perf_counter(); import scrimp; took = time.perf_counter() - start; "
            "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules); scrimp.fit; scrimp.Outcome; dir(scrimp); "
            "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules); print(took)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert float(done.stdout) < 0.3
    with pytest.raises(AttributeError):
        scrimp.nothing  # noqa: B018
    assert issubclass(DataError, scrimp.ScrimpError)
