"""What the tests of single layouts share."""

import json

import pytest

from scrimp.core.errors import DataError
from scrimp.examples.formats import read


@pytest.fixture
def assert_last_is_refused(tmp_path):
    """Rows of a file whose last one is bad: that is an error with its place, unless bad rows are skipped."""
    def look(rows, said):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(DataError) as refused:
            read(path, find_scores=True)
        assert f"rows.jsonl:{len(rows)}" in str(refused.value)
        assert said in str(refused.value)
        assert len(read(path, find_scores=True, on_bad_row="skip")) == len(rows) - 1

    return look
