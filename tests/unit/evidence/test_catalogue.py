"""The catalogue: every paper once, its names those that are registered, its status computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scrimp
from scrimp.core.registry import _PRESETS, presets
from scrimp.evidence import catalogue
from scrimp.evidence.catalogue import papers, write_names
from scrimp.evidence.results import Standing
from scrimp.tuning.plan import TunePlan, json_schema

ROOT = Path(__file__).parents[3]


def test_the_file_has_every_paper_once_and_the_names_that_are_registered(tmp_path: Path) -> None:
    assert len({paper.id for paper in papers()}) == len({paper.title for paper in papers()}) == 586
    write_names(tmp_path / "catalogue.jsonl")
    kept = (ROOT / "src/scrimp/evidence/catalogue.jsonl").read_text(encoding="utf-8")
    assert (tmp_path / "catalogue.jsonl").read_text(encoding="utf-8") == kept, "make catalogue"


def test_every_registered_paper_is_in_the_catalogue() -> None:
    known = {paper.id for paper in papers()}
    assert all(set(preset.papers) <= known for preset in presets())


@pytest.mark.parametrize(("verdicts", "status"), [
    ((None,), "reachable"), (("holds",), "shown"), (("holds", "holds"), "shown"), (("holds", None), "shown"),
    (("holds", "fails"), "not shown"), (("inconclusive",), "not shown"),
])
def test_the_status_is_computed(monkeypatch: pytest.MonkeyPatch, verdicts: tuple[str | None, ...], status: str) -> None:
    told = [Standing(name=f"c{i}", family="merging", papers=(577,), says="It is so.", verdict=verdict,
                     why="" if verdict in (None, "holds") else "Too small.") for i, verdict in enumerate(verdicts)]
    monkeypatch.setattr(catalogue, "standings", lambda: told)
    rows = {row.id: row for row in catalogue.catalogue()}
    assert rows[577].status == status
    assert (rows[577].why == "Too small.") == (status == "not shown")
    assert rows[1].status == "planned" and rows[577].claims == {
        f"c{i}": verdict or "not tried" for i, verdict in enumerate(verdicts)}


def test_the_preset_of_the_contributing_page_is_all_that_it_takes() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) < 10
    try:
        exec(compile(code, "CONTRIBUTING.md", "exec"), {})
        plan = TunePlan.parse({"schedule": "late-linear"})
        assert [round(plan.schedule.factor(step, 100), 2) for step in (0, 50, 100)] == [0.17, 1.0, 0.1]
        assert scrimp.methods("schedule", "late-linear")[0].calls["YAML"].startswith("- tune: {schedule: late-linear")
        assert "late-linear" in json_schema()["properties"]["schedule"]["enum"]
    finally:
        _PRESETS.pop(("schedule", "late-linear"), None)


def test_what_does_not_hold_has_its_reason_written() -> None:
    bare = [one.name for one in catalogue.standings() if one.verdict not in (None, "holds") and not one.why]
    assert not bare, f"write evidence/<family>/<name>.md for {bare}"


def test_every_method_of_scrimp_has_its_page_in_the_documentation() -> None:
    own = {f"{p.family}/{p.name}" for p in presets() if p.method.__module__.startswith("scrimp.")}
    pages = {str(path.relative_to(ROOT / "docs/methods").with_suffix("")) for path in
             (ROOT / "docs/methods").glob("*/*.md") if path.stem != "README"}  # which is the family's
    assert pages == own, "make docs"
