"""The torture campaign at toy scale, so that it does not rot; and its page is made of its record."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scrimp.core.errors import DataError, OptionError
from tests.torture import inputs, page
from tests.torture.commands import COMMANDS, half
from tests.torture.faults import FAULTS
from tests.torture.materials import basics
from tests.torture.record import RESULTS, Kept, Trial, refusal
from tests.torture.surfaces import SURFACES

CHEAP = [name for name, one in SURFACES.items() if one.source.startswith(("rows/", "records")) and one.name not in (
    "HTTP request", "command line")]


@pytest.fixture(scope="module")
def watch() -> inputs.Watch:
    return inputs.Watch()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, causal_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("campaign") / "good"
    folder.mkdir()
    basics(folder)
    (folder / "causal").symlink_to(causal_folder)
    return folder


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SCRIMP_WORKSPACE", "SCRIMP_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.mark.parametrize("name", [*CHEAP, "model: config.json", "header: safetensors"])
def test_corrupted_inputs_pass(name: str, good: Path, tmp_path: Path, watch: inputs.Watch) -> None:
    for number in range(2):
        outcome, told = inputs.one(good, tmp_path / "trials" / str(number), SURFACES[name], number, 0, watch)
        assert outcome in ("right", "refused"), told


def test_the_same_number_is_the_same_corruption(good: Path, tmp_path: Path) -> None:
    surface = SURFACES["rows: CSV"]
    made = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        made.append(inputs.spoil(good / surface.source, tmp_path / folder, surface, "0 x 1").read_bytes())
    assert made[0] == made[1] != (good / surface.source).read_bytes()


def test_what_a_reader_must_not_do_is_seen(tmp_path: Path, watch: inputs.Watch) -> None:
    with watch.over(tmp_path):
        (tmp_path / "inside").write_text("")
    assert not watch.seen
    with watch.over(tmp_path / "inner"):
        os.system("true")
    assert watch.seen[0].startswith("os.system")
    code = compile("1", str(tmp_path / "planted.py"), "exec")
    with watch.over(tmp_path):
        exec(code)
    assert "planted.py" in watch.seen[0]


def test_an_error_says_enough_or_is_a_failure() -> None:
    assert refusal(DataError("is empty", where="a.csv")) is None
    assert "neither where" in (refusal(OptionError("no")) or "")
    assert refusal(KeyError("x")) == "KeyError: 'x'"


def test_a_half_written_folder_is_seen(tmp_path: Path) -> None:
    command = COMMANDS["predict"]
    assert half(command, tmp_path) is None
    (tmp_path / "said.jsonl").write_text('{"row": 0}\n')
    assert half(command, tmp_path) is None
    (tmp_path / "said.jsonl").write_text('{"row": 0}\n{"ro')
    assert "half-written" in (half(command, tmp_path) or "")


def test_trials_are_kept_and_counted(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "trials.jsonl")
    for outcome in ("right", "refused", "failed"):
        kept.add(Trial("csv", outcome, outcome))  # type: ignore[arg-type]
    kept.path.write_text(kept.path.read_text() + '{"group": "cs')  # a kill
    assert kept.counts() == {"csv": {"failed": 1, "refused": 1, "right": 1}}
    assert kept.names() == {("csv", "right"), ("csv", "refused"), ("csv", "failed")}
    assert [one["name"] for one in kept.failures()] == ["failed"]


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40


def test_the_page_is_made_of_the_record() -> None:
    assert page.PAGE.read_text() == page.page(json.loads(RESULTS.read_text()))
