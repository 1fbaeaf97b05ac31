"""The pages that are made while the site is built: verdicts are told as they are, and nothing public is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

import scrimp
from docs import evidence, reference, rooted, which
from scrimp.evidence import claims
from scrimp.evidence.results import Standing
from scrimp.evidence.verdicts import Finding
from scrimp.verbs import VERBS

CURVES = f"# Curves\n\n## {which.CURVES}\n\nA table.\n\n## Else\n"


def standing(name: str, verdict: str | None, *, family: str = "selection", why: str = "") -> Standing:
    found = Finding(inequality=f"{name}: a > b", gaps=(1.0,) * 5, effect=1, low=0.5, high=1.5, against=1,
                    detectable=0.1, verdict=verdict or "holds")
    return Standing(name=name, family=family, papers=(1,), says=f"{name} is so.", verdict=verdict, why=why,
                    findings=(found,) if verdict else (), seeds=(0, 1, 2, 3, 4), seconds=120)


def made(*standings: Standing) -> str:
    methods = {one.name: (f"selection/of-{one.name}",) for one in standings}
    return which.page(standings, methods, CURVES)


def test_only_what_held_is_told_to_hold() -> None:
    text = made(standing("good", "holds"), standing("bad", "fails"), standing("dim", "inconclusive"),
                standing("new", None))
    [row] = [line for line in text.splitlines() if line.startswith(f"| [{which.NEEDS['selection']}]")]
    assert "| [good](#claim-good) | 1 of 4 |" in row
    assert not any(name in row for name in ("bad", "dim", "new"))
    for name, verdict in (("good", "holds"), ("bad", "fails"), ("dim", "inconclusive"), ("new", "not tried")):
        assert f"**{name}: {verdict}.**{{ #claim-{name} }} {name} is so." in text
        assert f"[of-{name}](methods/selection/of-{name}.md)" in text
    assert "1 held, 1 failed, 1 inconclusive, 1 not tried" in text


def test_controls_are_not_told_to_be_what_held() -> None:
    found = {claim.name: which.shown(claim) for claim in claims.all_claims()}
    assert found["quality_filter"] == ("selection/quality-classifier", "selection/filter-network")
    assert "selection/random" in claims.find("quality_filter").declared.methods


def test_a_verdict_that_changes_changes_the_page() -> None:
    assert "| 0 of 1 |" in made(standing("one", "fails")) and "| 1 of 1 |" in made(standing("one", "holds"))


def test_why_a_claim_failed_stands_there_without_its_heading() -> None:
    text = made(standing("bad", "fails", why="# bad\n\nToo few rows.\n\n- one\n"))
    assert "    Too few rows." in text and "# bad" not in text


def test_the_table_of_the_curves_is_theirs() -> None:
    assert "A table." in made(standing("one", "holds"))
    with pytest.raises(KeyError, match="no section"):
        which.page([standing("one", "holds")], {"one": ()}, "# Curves\n")


def test_a_family_without_a_need_is_an_error() -> None:
    with pytest.raises(KeyError, match="magic"):
        made(standing("one", "holds", family="magic"))
    assert {claim.family for claim in claims.all_claims()} <= set(which.NEEDS)


def test_the_table_of_claims_has_each_with_its_verdict() -> None:
    text = evidence.page([standing("good", "holds"), standing("bad", "fails", family="mixing")])
    assert "| good | good is so. | holds | 5 | 2 |" in text and "| bad | bad is so. | fails | 5 | 2 |" in text


def test_every_verb_and_option_is_in_the_reference() -> None:
    pages = dict(reference.pages())
    for name, verb in VERBS.items():
        part = pages["reference/verbs.md"].split(f"## scrimp.{name}\n")[1].split("\n## ")[0]
        assert [option for option in verb.listed() if f"| `{option}` |" not in part] == []
    assert set(scrimp.__all__) - set(VERBS) == {"Budget", "Outcome", "ScrimpError"}
    assert all(f"[`{name}`]" in pages["reference/index.md"] for name in ("Budget", "Outcome", "ScrimpError"))


def test_everything_that_a_package_exports_is_on_a_page() -> None:
    there = {name.rpartition(".")[2] for name in reference.public()}
    there |= {name for path in reference.packages().values() for module in path.parent.glob("*.py")
              for name in reference.together(module)}
    exported = {name: path for path in reference.packages().values() for name in reference.exported(path)}
    assert len(exported) > 100
    assert sorted(set(exported) - there) == []


def test_what_a_module_defines_is_told_from_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("from json import loads\n__all__ = ['f', 'C', 'D', 'E', 'loads']\n"
                                   "def f(): ...\nC = 1\nD, E = 2, 'three'\n_hidden = 4\n")
    assert reference.own(tmp_path / "m.py") == ("f", "C")
    assert reference.together(tmp_path / "m.py") == {"D": "2", "E": "'three'"}


@pytest.mark.parametrize(("text", "page"), [
    ("[a](docs/b.md#c)", "[a](b.md#c)"), ("![a](docs/b.png)", "![a](b.png)"), ("[a](SECURITY.md)", "[a](security.md)"),
    ("[a](tests/b.py)", "a"), ("[a](https://b/c)", "[a](https://b/c)"), ("[a](#b)", "[a](#b)")])
def test_links_of_the_root_are_those_of_the_site(text: str, page: str) -> None:
    assert rooted.as_page(text) == page
