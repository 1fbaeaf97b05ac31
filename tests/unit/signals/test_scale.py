"""What a pass takes in memory does not grow with the rows, but for what tells where they are."""

import tracemalloc
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from scrimp.core.workspace import Workspace
from scrimp.examples import sequences
from scrimp.examples.formats import read
from scrimp.examples.sequences import Spooled
from scrimp.signals import Signals
from scrimp.signals.passes import Found, Pass, kept

BYTES = 400  # of a row that may stay: its key, its length, its places in files and in a batch


class Lengths(Pass[Any]):
    """How long a row is, 256 times."""

    kind, said, width = "lengths", "measuring", 256

    def content(self, row):
        return row if isinstance(row, str) else row.ids

    def lengths(self, rows):
        return [len(self.content(row)) for row in rows]

    @contextmanager
    def opened(self):
        yield lambda rows: Found(np.repeat(np.array([self.lengths(rows)], np.float32).T, 256, axis=1), len(rows))


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch):
    """Even a short sequence is a file."""
    monkeypatch.setattr(sequences, "_HELD", 1)


def peak(look):
    """Bytes that Python and numpy held at most, beyond what they held before; mapped files are none."""
    tracemalloc.start()
    try:
        look()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("known", [False, True])
def test_rows_are_not_held(tmp_path, known):
    def look(count, longest):
        rows = Spooled("x" * (1000 + i % longest) for i in range(count))
        return kept(Lengths(), "q", rows, Workspace(tmp_path / str(count)))

    for count in (400, 4000) if known else ():
        look(count, 90)  # so that a part of the answers is taken from there
    few, many = (peak(lambda count=count: look(count, 100)) for count in (400, 4000))
    assert many - few < 3600 * BYTES


def test_tokens_are_not_held(causal_folder, tmp_path):
    signals = Signals(model=str(causal_folder), workspace=Workspace(tmp_path))

    def look(count):
        pool = read([{"text": f"{i} " + "one two three " * 60} for i in range(count)])
        return peak(lambda: kept(Lengths(), "q", signals.encoded(pool), Workspace(tmp_path)))

    look(10)  # once for what is made at the first use of anything
    few, many = look(50), look(350)
    assert many - few < 300 * BYTES  # of a row the tokens alone take 4 kB as Python has them


def test_a_part_of_rows_takes_no_copy_of_them():
    pool = read([{"text": f"{i} " + "one two three " * 60} for i in range(100)])
    pool.subset(range(2))
    assert peak(lambda: pool.subset(range(100))) < 100 * BYTES
