"""What a pass found is kept row by row, through kills, changed rows, cut files and full disks."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import WorkspaceError
from scrimp.core.workspace import Workspace
from scrimp.signals import Signals
from scrimp.signals.answers import Answers
from scrimp.signals.passes import Found, Pass, local, run


class Multiples(Pass[int]):
    """Of a number n: 1 to 3 lines of its multiples; in batches of two."""

    kind, said, width = "multiples", "multiplying", 2

    def __init__(self, wait_s=0.0):
        self.seen, self.wait_s = [], wait_s

    def content(self, row):
        return row

    def lines(self, row):
        return row % 3 + 1

    def lengths(self, rows):
        return [1] * len(rows)

    def batches(self, lengths):
        return [list(range(len(lengths)))[at:at + 2] for at in range(0, len(lengths), 2)]

    @contextmanager
    def opened(self):
        def found(rows):
            self.seen += [list(rows)]
            time.sleep(self.wait_s)
            alone = [[[row * line, len(rows)] for line in range(1, self.lines(row) + 1)] for row in rows]
            return Found(np.concatenate(alone).astype(np.float32), len(rows))

        yield found


def stopping_after(batches):
    def engine(work, given):
        with closing(local(work, given)) as found:
            for count, one in enumerate(found):
                if count == batches:
                    raise KeyboardInterrupt
                yield one
    return engine


def signals(folder, engine=local):
    return Signals(workspace=Workspace(folder), engine=engine)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.lists(st.integers(0, 3), max_size=5))
def test_a_pass_that_is_interrupted_ends_with_the_same_and_does_nothing_twice(tmp_path_factory, rows, stops):
    whole, work, folder = run(Multiples(), rows), Multiples(), tmp_path_factory.mktemp("kept")
    for after in stops:
        try:
            signals(folder, stopping_after(after))._answers(work, "q", rows)
        except KeyboardInterrupt:
            continue
    found = signals(folder)._answers(work, "q", rows)
    np.testing.assert_array_equal(found.values, whole.values)
    np.testing.assert_array_equal(found.starts, whole.starts)
    assert [lines.shape for lines in found] == [(row % 3 + 1, 2) for row in rows]
    assert len(work.seen) <= -(-len(rows) // 2) + len(stops)  # at most one batch is lost with each


def test_a_changed_row_is_computed_alone(tmp_path):
    work = Multiples()
    signals(tmp_path)._answers(work, "q", [1, 2, 3, 4])
    work.seen.clear()
    found = signals(tmp_path)._answers(work, "q", [4, 3, 7, 1])
    assert work.seen == [[7]]
    assert [lines[0, 0] for lines in found] == [4, 3, 7, 1]
    assert found.values.shape == (2 + 1 + 2 + 2, 2)
    signals(tmp_path)._answers(work, "another question", [4])
    assert work.seen == [[7], [4]]


def test_rows_that_are_the_same_have_the_same(tmp_path):
    for _ in range(2):
        found = signals(tmp_path)._answers(Multiples(), "q", [5, 5, 5, 1, 5])
        assert [lines[0, 0] for lines in found] == [5, 5, 5, 1, 5]


def test_no_rows_are_no_obstacle(tmp_path):
    found = signals(tmp_path)._answers(Multiples(), "q", [])
    assert found.values.shape == (0, 2)
    assert signals(tmp_path)._answers(Multiples(), "q", []).values.shape == (0, 2)


def test_what_is_changed_stays_in_memory(tmp_path):
    signals(tmp_path)._answers(Multiples(), "q", [1])  # a caller may change what it is given
    signals(tmp_path)._answers(Multiples(), "q", [1]).values[:] = 9
    assert signals(tmp_path)._answers(Multiples(), "q", [1]).values[0, 0] == 1


@pytest.mark.parametrize("name", ["values", "starts", "done", "keys"])
def test_a_file_that_was_cut_short_is_not_filled_with_zeros(tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        signals(tmp_path, stopping_after(1))._answers(Multiples(), "q", [1, 2, 3, 4])
    file, = tmp_path.glob(f"*.partial/{name}.npy")
    file.write_bytes(file.read_bytes()[:-3])
    found = signals(tmp_path)._answers(Multiples(), "q", [1, 2, 3, 4])
    assert [lines[0, 0] for lines in found] == [1, 2, 3, 4]
    file, = tmp_path.glob(f"multiples.*/{name}.npy")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(WorkspaceError, match="is damaged"):
        signals(tmp_path)._answers(Multiples(), "q", [1, 2, 3, 4])


@pytest.mark.parametrize("header", [b"{'descr': '<f4", b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1",
                                    b"{'descr': [('a'], 'fortran_order': 1, 'shape': (10**30,)}", b"\0" * 20,
                                    b"(" * 100])
def test_a_header_that_was_changed_is_damage(tmp_path, header):
    signals(tmp_path)._answers(Multiples(), "q", [1, 2, 3, 4])
    file, = tmp_path.rglob("values.npy")
    data = file.read_bytes()
    file.write_bytes(data[:10] + header.ljust(118, b" ") + data[128:])
    with pytest.raises(WorkspaceError, match="is damaged"):
        signals(tmp_path)._answers(Multiples(), "q", [1, 2, 3, 4])


def test_a_full_disk_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    work = Multiples()
    with pytest.raises(WorkspaceError, match="No space left"):
        signals(tmp_path)._answers(work, "q", [1, 2])
    assert not work.seen
    monkeypatch.undo()
    assert signals(tmp_path)._answers(work, "q", [1, 2]).values[0, 0] == 1


def test_the_process_may_be_killed_at_any_time(tmp_path):
    program = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
               "from test_answers import Multiples, signals\n"
               f"import json; work = Multiples(0.02)\n"
               f"found = signals({str(tmp_path)!r})._answers(work, 'q', list(range(120)))\n"
               "print(json.dumps([len(work.seen), found.values.tolist()]))")
    kills = 0
    while True:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        if kills < 2 and _begun(tmp_path, process, 15 * (kills + 1)):
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        computed, values = json.loads(process.communicate()[0])
        break
    assert kills == 2 and computed < 45
    np.testing.assert_array_equal(np.array(values), run(Multiples(), list(range(120))).values)


def _begun(folder, process, batches):
    """Wait until that many batches have their numbers."""
    while process.poll() is None:
        for file in folder.glob("*.partial/done.npy"):
            if file.stat().st_size > 128 and np.load(file).sum() >= 2 * batches:
                return True
        time.sleep(0.01)
    return False


def test_what_a_pass_found_is_flushed_while_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("scrimp.signals.answers._FLUSH_S", -1.0)
    flushed = []
    monkeypatch.setattr(Answers, "flush", lambda self: flushed.append(1))
    run(Multiples(), [1, 2, 3, 4])
    assert len(flushed) == 3


def test_what_was_put_into_a_file_is_not_held_in_memory(tmp_path):
    def resident():
        """Bytes of the mapped values that are in this process."""
        after = Path("/proc/self/smaps").read_text().partition(str(tmp_path / "values.npy"))[2]
        return 1024 * int(re.search(r"^Rss:\s+(\d+) kB", after, re.MULTILINE)[1])

    rows, keys = np.arange(1000), np.random.default_rng(0).integers(256, size=(1000, 16), dtype=np.uint8)
    answers = Answers.in_folder(tmp_path, keys, [1] * 1000, 1024)
    numbers = np.arange(1000 * 1024, dtype=np.float32).reshape(1000, 1024)
    answers.put(rows, numbers)
    assert resident() == 0
    np.testing.assert_array_equal(answers.values, numbers)
    assert resident() >= numbers.nbytes
    answers.flush()
    assert resident() == 0


def test_a_person_may_stop_it(tmp_path, monkeypatch):
    from scrimp.core import interrupts
    from scrimp.core.errors import Stopped

    work = Multiples()
    interrupts._requested.set()
    try:
        with pytest.raises(Stopped, match="saved"):
            signals(tmp_path)._answers(work, "q", [1, 2, 3, 4])
    finally:
        interrupts._requested.clear()
    signals(tmp_path)._answers(work, "q", [1, 2, 3, 4])
    assert work.seen == [[1, 2], [3, 4]]
