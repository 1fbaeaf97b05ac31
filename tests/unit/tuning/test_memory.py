"""What is freed goes back to the system when the process has grown by it."""

from __future__ import annotations

import sys

import pytest

from scrimp.tuning import memory
from scrimp.tuning.memory import Tidy


@pytest.mark.parametrize(("resident", "trims"), [((100, 100, 109), 0), ((100, 111, 100), 1), ((100, 90, 130, 130), 2)])
def test_memory_is_handed_back_when_a_turn_leaves_a_tenth_more_than_the_first(
        resident: tuple[int, ...], trims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now, done = iter(resident), []
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(now))
    monkeypatch.setattr(memory, "return_freed", lambda: done.append(1))
    tidy = Tidy()
    for _ in resident:
        tidy.after_turn()
    assert len(done) == trims


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators keep nothing")
def test_scattered_blocks_are_handed_back() -> None:
    from scrimp.core.budget import resident_bytes

    tidy = Tidy()
    memory.return_freed()
    tidy.after_turn()
    first = resident_bytes()
    blocks = [bytes(60_000) for _ in range(40_000)]  # from the heap: each is smaller than what is mapped by itself
    kept = blocks[::100]
    grown = resident_bytes()
    del blocks
    tidy.after_turn()
    assert grown > 1.5 * first or grown - first > 1 << 30
    assert resident_bytes() - first < 0.2 * (grown - first) and len(kept) == 400
