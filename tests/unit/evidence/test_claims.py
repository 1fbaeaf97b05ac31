"""What a claim may say, and how inequalities are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.evidence import claims
from scrimp.evidence.claims import Declared, Inequality
from scrimp.evidence.lab import Lab

TOYS = Path(__file__).parent / "toy"
ARMS = ["new", "old"]
GOOD = {"papers": (1,), "says": "The new one is better than the old one.", "holds_if": ("loss: new < old",),
        "arms": {"new": {}, "old": {}}}


@pytest.mark.parametrize(("text", "gaps"), [
    ("loss: new < old", [0.5, -1.0]),
    ("loss: new > old", [-0.5, 1.0]),
    ("loss: new < 2 * old + 0.5", [2.0, 0.5]),
    ("loss: new < old - 0.25", [0.25, -1.25]),
    ("loss: new <= 0.9", [0.4, -1.1]),
    ("loss: old > 1e-3", [0.999, 0.999]),
])
def test_an_inequality_is_read_and_measured(text: str, gaps: list[float]) -> None:
    scores = {"new": {0: {"loss": 0.5}, 1: {"loss": 2.0}}, "old": {0: {"loss": 1.0}, 1: {"loss": 1.0}}}
    assert Inequality.parse(text, ARMS).gaps(scores, [0, 1]) == pytest.approx(gaps)


@pytest.mark.parametrize(("text", "told"), [
    ("loss new < old", "is no inequality"), ("loss: new < odl", "did you mean 'old'"),
    ("loss: nwe < old", "did you mean 'new'"), ("loss: new = old", "is no inequality"), ("", "is no inequality"),
])
def test_a_wrong_inequality_is_refused(text: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Inequality.parse(text, ARMS)


def test_names_may_have_spaces_and_hyphens() -> None:
    found = Inequality.parse("loss at rank 1: two-stage one < the-old one + 0.1", ["two-stage one", "the-old one"])
    assert (found.measure, found.left, found.right, found.margin) == (
        "loss at rank 1", "two-stage one", "the-old one", 0.1)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        Inequality.parse(text, ARMS)
    except OptionError:
        pass


@pytest.mark.parametrize(("change", "told"), [
    ({"search": {"rate": (1, 2)}}, "tuned_for"),
    ({"search": {"new": {"rate": (1, 2)}}, "tuned_for": "loss"}, "same number of points"),
    ({"search": {"rate": tuple(range(7))}, "tuned_for": "loss"}, "at most 6"),
    ({"papers": ()}, "papers"), ({"colour": "red"}, "unknown option 'colour'"),
])
def test_an_unfair_claim_is_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Declared.parse({**GOOD, **change})


def test_each_arm_may_search_its_own_grid_of_the_same_size() -> None:
    declared = Declared.parse({**GOOD, "tuned_for": "loss",
                               "search": {"new": {"rate": (1, 2)}, "old": {"decay": (3, 4)}}})
    assert declared.points("new") == [{"rate": 1}, {"rate": 2}]
    assert declared.points("old") == [{"decay": 3}, {"decay": 4}]


def test_a_claim_is_found_by_its_file(tmp_path: Path) -> None:
    found = claims.find("shifted", TOYS)
    assert (found.name, found.family) == ("shifted", "toys")
    with pytest.raises(OptionError, match="did you mean 'shifted'"):
        claims.find("shfted", TOYS)
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "empty.py").write_text("x = 1\n")
    with pytest.raises(OptionError, match="declares 0 claims"):
        claims.all_claims(tmp_path)


def test_an_arm_that_gives_no_such_measure_is_refused() -> None:
    found = claims.find("shifted", TOYS)
    broken = claims.Claim(found.declared, found.path, lambda lab, **options: {"value": float("nan"), "error": 0})
    with pytest.raises(OptionError, match="no finite 'value'"):
        broken.measured(Lab(0), "plain", {"noise": 0.1})


def test_every_claim_of_the_project_can_be_read_and_names_what_exists() -> None:
    from scrimp.core.registry import lookup
    from scrimp.evidence.catalogue import papers

    known = {paper.id for paper in papers()}
    found = claims.all_claims()
    assert len({claim.name for claim in found}) == len(found)
    for claim in found:
        assert set(claim.declared.papers) <= known, claim.name
        for method in claim.declared.methods:
            lookup(*method.split("/", 1))
