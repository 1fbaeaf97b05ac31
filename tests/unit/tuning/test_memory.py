"""What is freed goes back to the system when the process has grown by it."""

from __future__ import annotations

import os
import subprocess
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


GROWTH = """
import os, random
import scrimp, torch
from scrimp.core.budget import resident_bytes
from scrimp.tuning.memory import return_freed

weight = torch.randn(1536, 576).bfloat16()

def product(length):
    y = torch.randn(length, 576).bfloat16() @ weight.t()
    y.addmm_(torch.randn(length, 8).bfloat16(), torch.randn(8, 1536).bfloat16()) @ weight

torch.set_num_threads(1)
product(500)
return_freed()
before = resident_bytes()
for length in random.Random(0).sample(range(64, 700), 200):
    product(length)
return_freed()
print((resident_bytes() - before) >> 20)
"""


def test_products_of_ever_other_lengths_leave_little_in_memory() -> None:
    usual = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
    done = subprocess.run([sys.executable, "-c", GROWTH], env=usual, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 70  # MiB; 355 by default
