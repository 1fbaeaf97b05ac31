"""A record of a newer format is refused as one; a damaged one is told as damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scrimp.core.errors import DataError
from scrimp.evaluation.outcome import FORMAT, Outcome


@pytest.mark.parametrize(("told", "match"), [
    ({"format": FORMAT + 1}, rf"format {FORMAT + 1}, this scrimp reads {FORMAT}"),
    ({"format": FORMAT + 1, "nobody": "knows"}, "this scrimp reads"), ({"format": FORMAT}, "no record"),
    ({"format": True}, "no record"), ({"format": "2"}, "no record"), ([], "no record")])
def test_a_newer_record_is_no_damaged_one(tmp_path: Path, told: object, match: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(told))
    with pytest.raises(DataError, match=match) as caught:
        Outcome.load(path)
    assert caught.value.where == str(path) and (caught.value.why or caught.value.fix)
