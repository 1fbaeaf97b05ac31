"""Trying claims: what is finished is kept, arms at unequal cost are refused, a replay searches nothing."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import scrimp
from scrimp.core.assets import cache
from scrimp.core.errors import GuardError, OptionError
from scrimp.evidence import claims
from scrimp.evidence.results import Result, digest, standing
from scrimp.evidence.runs import Pool, smoke, try_claim

TOYS = Path(__file__).parent / "toy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("claims") / "evidence"
    shutil.copytree(TOYS, found)
    text = (found / "toys" / "shifted.py").read_text()
    (found / "toys" / "unequal.py").write_text(
        text.replace("def shifted", "def unequal").replace("lab.scale(100, 10)", "int(100 + 10 * shift)"))
    (found / "toys" / "bare.py").write_text(
        text.replace("def shifted", "def bare").replace(", noise: float)", ", noise: float = 0.01)")
        .replace('    search={"noise": (0.5, 0.01, 0.2)},\n    tuned_for="error", better="lower",\n', ""))
    return found


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        with Pool() as pool:
            yield pool


def test_a_claim_is_searched_tried_judged_and_kept(folder: Path, pool: Pool, tmp_path: Path) -> None:
    claim = claims.find("shifted", folder)
    result = try_claim(claim, pool)
    assert result.verdict == "holds"
    assert [found.options for found in result.arms.values()] == [{"noise": 0.01}] * 2
    assert [one.point["noise"] for one in result.arms["plain"].searched] == [0.5, 0.01, 0.2]
    assert set(result.arms["plain"].scores) == {0, 1, 2, 3, 4} and result.search_seeds == (1000, 1001)
    assert result.arms["plain"].backward == 100
    result.save(tmp_path / "shifted.json")
    assert Result.load(tmp_path / "shifted.json") == result
    units = {path.name for path in cache().root.glob("evidence-*")}
    assert len(units) == 2 * (3 * 2 + 5)
    again = try_claim(claim, pool)
    assert again.findings == result.findings
    assert {path.name for path in cache().root.glob("evidence-*")} == units


def test_a_claim_without_a_search_says_that_nothing_was_searched(folder: Path, pool: Pool) -> None:
    result = try_claim(claims.find("bare", folder), pool)
    assert result.search_seeds == () and all(not arm.searched for arm in result.arms.values())


def test_a_replay_uses_the_options_that_were_chosen(folder: Path, pool: Pool) -> None:
    claim = claims.find("shifted", folder)
    replay = try_claim(claim, pool, seeds=range(100, 105), chosen={"shifted": {"noise": 0.2}, "plain": {"noise": 0.2}})
    assert replay.arms["plain"].options == {"noise": 0.2} and not replay.search_seeds
    assert replay.seeds == (100, 101, 102, 103, 104)


def test_arms_at_unequal_cost_are_refused(folder: Path, pool: Pool) -> None:
    with pytest.raises(GuardError, match="not at equal cost"):
        smoke(claims.find("unequal", folder), pool)


def test_two_commands_take_turns_on_the_cores(folder: Path, pool: Pool) -> None:
    claim = claims.find("bare", folder)
    with ThreadPoolExecutor(1) as aside:
        with cache().alone("cores"):
            other = aside.submit(smoke, claim, pool)
            with pytest.raises(TimeoutError):
                other.result(timeout=1.0)
        other.result(timeout=60.0)


def test_seeds_that_chose_the_options_are_not_reported(folder: Path, pool: Pool) -> None:
    with pytest.raises(GuardError, match="cannot be reported"):
        try_claim(claims.find("shifted", folder), pool, seeds=range(998, 1003))


def test_a_result_is_stale_when_code_changes_and_not_when_words_do(folder: Path, pool: Pool, tmp_path: Path) -> None:
    claim = claims.find("shifted", folder)
    result = try_claim(claim, pool)
    assert not standing(claim, result).stale
    moved = tmp_path / "toys" / "shifted.py"
    moved.parent.mkdir()
    text = claim.path.read_text()
    moved.write_text("# a comment\n" + text.replace("by its making", "as it is made"))
    assert digest(claims.load(moved)) == digest(claim)
    moved.write_text(text.replace("shift + lab", "2 * shift + lab"))
    assert standing(claims.load(moved), result).stale


def test_what_does_not_hold_shows_its_reason(folder: Path, pool: Pool) -> None:
    claim = claims.find("shifted", folder)
    result = try_claim(claim, pool)
    claim.note.write_text("Because.\n")
    assert standing(claim, result).why == ""
    assert standing(claim, result.model_copy(update={"verdict": "inconclusive"})).why == "Because."
    assert standing(claim, None).verdict is None


def test_a_replay_of_other_signs_or_of_other_code_is_told_apart(folder: Path, pool: Pool) -> None:
    claim = claims.find("shifted", folder)
    result = try_claim(claim, pool)
    turned = result.model_copy(update={
        "findings": tuple(one.model_copy(update={"effect": -one.effect}) for one in result.findings)})
    assert standing(claim, result, result).replayed is True
    assert standing(claim, result, turned).replayed is False
    assert standing(claim, result, turned.model_copy(update={"digest": "of other code"})).replayed is None


def test_the_verb_runs_keeps_replays_lists_and_draws(folder: Path, pool: Pool, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "claims_folder", lambda: folder)
    with pytest.raises(OptionError, match="which claims"):
        scrimp.evidence("run")
    with pytest.raises(OptionError, match="no result to replay"):
        scrimp.evidence("run", "shifted", seeds="100-104")
    (done,) = scrimp.evidence("run", "shifted")
    assert done.verdict == "holds"
    (replayed,) = scrimp.evidence("run", "shifted", seeds="100-104")
    assert replayed.seeds == (100, 101, 102, 103, 104)
    assert [one.replayed for one in scrimp.evidence("table") if one.name == "shifted"] == [True]
    assert {str(p.relative_to(folder)) for p in folder.rglob("*.json")} == {
        "results/shifted.json", "results/replays/shifted.json"}
    listed = {one.name: one.verdict for one in scrimp.evidence("table")}
    assert listed == {"bare": None, "shifted": "holds", "unequal": None}
    scrimp.evidence("page", out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "value: shifted &gt; plain" in page and "<svg" in page and "not tried" in page
