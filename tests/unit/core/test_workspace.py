import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from scrimp.core import workspace
from scrimp.core.errors import WorkspaceError
from scrimp.core.workspace import Workspace, atomic_folder, atomic_write, fingerprint, folder_bytes, scratch


def test_a_step_is_made_once(tmp_path):
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "result").write_text("42")

    space = Workspace(tmp_path / "w")
    first = space.step("sum", {"a": 1}, make)
    again = Workspace(tmp_path / "w").step("sum", {"a": 1}, make)
    other = space.step("sum", {"a": 2}, make)
    assert first == again != other
    assert len(made) == 2
    assert (first / "result").read_text() == "42"


def test_a_failed_step_keeps_its_partial_work(tmp_path):
    space = Workspace(tmp_path)

    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        space.step("long", 1, fails)
    done = space.step("long", 1, lambda folder: (folder / "whole").write_text((folder / "half").read_text() * 2))
    assert (done / "whole").read_text() == "halfhalf"
    assert not list(tmp_path.glob("*.partial"))


def _slow_step(root: str, log: str) -> None:
    def make(folder: Path) -> None:
        with open(log, "a") as file:
            file.write("made\n")
        time.sleep(0.5)

    Workspace(root).step("slow", 1, make)


def test_two_processes_make_a_step_once(tmp_path):
    log = tmp_path / "log"
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_slow_step, args=(str(tmp_path / "w"), str(log))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [p.exitcode for p in both] == [0, 0]
    assert log.read_text() == "made\n"


def _killed_while_writing(path: str) -> None:
    workspace.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
    atomic_write(Path(path), "half")


def test_what_a_kill_left_of_a_file_is_gone_when_it_is_written_again(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, "old")
    process = multiprocessing.get_context("spawn").Process(target=_killed_while_writing, args=(str(path),))
    process.start()
    process.join()
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    atomic_write(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_another_is_writing_is_left_to_it(tmp_path):
    path = tmp_path / "file"
    beside, handle = workspace._file_beside(path)
    os.write(handle, b"theirs")
    atomic_write(path, "ours")
    assert path.read_text() == "ours" and beside.read_text() == "theirs"
    beside.replace(path)
    os.close(handle)
    atomic_write(path, "ours again")
    assert path.read_text() == "ours again" and list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_way_is_not_followed(tmp_path):
    other, path = tmp_path / "other", tmp_path / "file"
    other.write_text("kept")
    (tmp_path / ".file.scrimp-part").symlink_to(other)
    atomic_write(path, "new")
    assert (path.read_text(), other.read_text()) == ("new", "kept")


def _write_often(path: str, letter: str) -> None:
    for _ in range(200):
        atomic_write(Path(path), letter * 5000)


def test_two_processes_write_one_file_whole(tmp_path):
    path, spawn = tmp_path / "file", multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_write_often, args=(str(path), letter)) for letter in "ab"]
    atomic_write(path, "a" * 5000)
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        assert path.read_text() in ("a" * 5000, "b" * 5000)
    assert [process.exitcode for process in both] == [0, 0] and list(tmp_path.iterdir()) == [path]


def test_atomic_write_leaves_the_old_on_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    atomic_write(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.os, "fsync", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_atomic_folder_replaces_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as folder:
        (folder / "a").write_text("2")
        raise ZeroDivisionError
    assert (target / "a").read_text() == "1"
    with atomic_folder(target) as folder:
        (folder / "b").write_text("3")
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_newer_or_damaged_workspace_is_refused(tmp_path):
    Workspace(tmp_path)
    mark = tmp_path / "workspace.json"
    mark.write_text(json.dumps({"format": 99}))
    with pytest.raises(WorkspaceError, match="format 99"):
        Workspace(tmp_path)
    mark.write_text("[]")
    with pytest.raises(WorkspaceError, match="damaged"):
        Workspace(tmp_path)


def test_clean_frees_the_least_recently_used(tmp_path):
    space = Workspace(tmp_path)
    paths = [space.step("s", i, lambda f: (f / "x").write_bytes(b"0" * 1000)) for i in range(3)]
    for age, path in enumerate(paths):
        os.utime(path, (time.time() - 100 + age, time.time() - 100 + age))
    assert [s.finished for s in space.steps()] == [True] * 3
    gone = space.clean(quota=folder_bytes(paths[2]) + 10)
    assert {s.path for s in gone} == set(paths[:2])
    assert paths[2].exists()


def test_fingerprints_depend_on_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b") == fingerprint(b"x")
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    with pytest.raises(WorkspaceError):
        fingerprint(tmp_path / "none")
    with pytest.raises(TypeError):
        fingerprint({"a": object()})


def test_a_read_only_place_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError):
        Workspace(tmp_path / "file" / "sub")
    with pytest.raises(WorkspaceError):
        atomic_write(tmp_path / "file" / "sub", "x")


def test_a_step_is_finished_once_it_was_made(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert not space.finished("kind", {"a": 1})
    space.step("kind", {"a": 1}, lambda folder: None)
    assert space.finished("kind", {"a": 1})
    assert not space.finished("kind", {"a": 2}) and not space.finished("other", {"a": 1})


def test_a_step_of_other_inputs_is_refused_and_a_damaged_mark_makes_it_again(tmp_path: Path) -> None:
    space, made = Workspace(tmp_path), []
    done = space.step("kind", {"a": (1, 2.5), "b": None}, made.append)
    assert space.step("kind", {"a": (1, 2.5), "b": None}, made.append) == done and len(made) == 1
    for damaged in ("", "[]", "{", "null"):
        (done / "step.json").write_text(damaged)
        space.step("kind", {"a": (1, 2.5), "b": None}, made.append)
    assert len(made) == 5
    (done / "step.json").write_text(json.dumps({"kind": "kind", "inputs": {"a": [1, 3.5]}}))
    with pytest.raises(WorkspaceError, match="other inputs") as caught:
        space.step("kind", {"a": (1, 2.5), "b": None}, made.append)
    assert caught.value.where == str(done) and caught.value.fix


def test_a_disk_that_is_full_for_safetensors_is_told(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    with pytest.raises(WorkspaceError, match="No space left"), atomic_folder(tmp_path / "model"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), atomic_folder(tmp_path / "model"):
        raise SafetensorError("Error while deserializing header: invalid JSON")
    assert not list(tmp_path.iterdir())


def test_what_is_being_made_from_other_inputs_is_not_gone_on_from(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "_address", staticmethod(lambda kind, inputs: f"{kind}-0"))
    space, made = Workspace(tmp_path), []
    with pytest.raises(ZeroDivisionError):
        space.step("kind", {"a": 1}, lambda folder: 1 / 0)
    with pytest.raises(WorkspaceError, match="begun from other inputs") as caught:
        space.step("kind", {"a": 2}, made.append)
    assert not made and caught.value.where == str(tmp_path / "kind-0.partial")
    done = space.step("kind", {"a": 1}, made.append)
    assert len(made) == 1 and [path.name for path in done.iterdir()] == ["step.json"]


def _killed_in(target: str, moment: str) -> None:
    if moment == "replacing":
        workspace.shutil.rmtree = lambda *given, **named: os._exit(9)
    with atomic_folder(Path(target)) as folder:
        (folder / "half").write_text("1")
        if moment == "filling":
            os._exit(9)


@pytest.mark.parametrize("moment", ["filling", "replacing"])
def test_what_a_kill_left_is_swept_by_the_next_that_writes_there(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        (folder / "whole").write_text("0")
    killed = multiprocessing.get_context("spawn").Process(target=_killed_in, args=(str(target), moment))
    killed.start()
    killed.join()
    assert killed.exitcode == 9 and len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".model.settings").mkdir()  # of somebody else
    with scratch(target) as beside:
        assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.settings", beside.name}
    assert [path.name for path in target.iterdir()] == (["whole"] if moment == "filling" else ["half"])


def test_what_another_process_is_writing_is_not_swept(tmp_path: Path) -> None:
    with scratch(tmp_path / "model") as first, scratch(tmp_path / "model") as second:
        assert first.is_dir() and second.is_dir() and first != second
    assert not list(tmp_path.iterdir())


def test_what_stepped_aside_for_another_that_never_came_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".model.scrimp-old-123").mkdir()
    (tmp_path / ".model.scrimp-old-123" / "old").write_text("0")
    with scratch(tmp_path / "model"):
        assert (tmp_path / "model" / "old").read_text() == "0"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_there_are_no_locks_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(workspace.fcntl, "flock", none)
    (tmp_path / ".model.scrimp-abcdefgh").mkdir()
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("1")
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.scrimp-abcdefgh"}


def test_a_folder_that_was_swept_before_it_was_locked_is_made_again(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    lock, gone = workspace._locked, []

    def swept_first(folder: Path) -> int | None:
        if not gone:
            gone.append(folder)
            folder.rmdir()
        return lock(folder)

    monkeypatch.setattr(workspace, "_locked", swept_first)
    with scratch(tmp_path / "model") as beside:
        assert beside.is_dir() and beside != gone[0]
