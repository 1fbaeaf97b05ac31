"""A file of a result that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrimp.core.errors import WorkspaceError
from scrimp.evidence.results import Result


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", "null", "{}", '{"name": 1}', "[" * 100_000, "\x00"])
def test_a_file_that_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claim.json"
    path.write_text(text)
    with pytest.raises(WorkspaceError, match="is no result") as caught:
        Result.load(path)
    assert caught.value.where == str(path) and caught.value.fix
