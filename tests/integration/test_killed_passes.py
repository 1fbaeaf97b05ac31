"""Passes that are killed end with the arrays of those that were not, and take no more memory for more rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.signals.scale import Look, compared, write

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["embeddings", "losses"])
def test_a_killed_pass_ends_with_the_same_bits(name: str, causal_folder: Path, tmp_path: Path) -> None:
    looks = [Look(name, write(count, tmp_path / f"{count}.jsonl"), causal_folder, causal_folder, tmp_path / str(count))
             for count in (200, 2000)]
    found = compared(looks, kills=2)
    largest = max(map(int, looks[-1].begun.read_text().split()))
    assert found["killed"]["same bits"]
    assert 0 <= found["killed"]["rows computed again"] <= 2 * largest < 400
    assert found["growth of the peak"] < 0.1
