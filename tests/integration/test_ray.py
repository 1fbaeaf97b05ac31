"""Passes on a real Ray of two workers, of which one is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.workspace import Workspace
from scrimp.signals import Signals
from scrimp.signals.embeddings import EmbeddingPass
from scrimp.signals.engines import engine_named
from scrimp.signals.passes import run

pytestmark = pytest.mark.integration

TEXTS = [f"{word} number {i}" for i in range(12) for word in ("good", "bad", "fair")]


class Watched(EmbeddingPass):
    """Leaves the number of the process that computes, and takes its time, so that one can be killed at it."""

    folder = Path()

    def batches(self, lengths):
        return [[i] for i in range(len(lengths))]

    def __reduce__(self):
        return _watched, (self.loaded, str(self.folder))

    @contextmanager
    def opened(self):
        with super().opened() as found_of:
            def slowly(rows):
                (self.folder / str(os.getpid())).touch()
                time.sleep(0.2)
                if rows == ["a bad row"]:
                    raise ModelError("a row of which nothing can be said", where="row 3")
                return found_of(rows)

            yield slowly


def _watched(loaded, folder):
    made = Watched(loaded)
    object.__setattr__(made, "folder", Path(folder))
    return made


def kill_one_of_two(folder: Path) -> None:
    while len(names := [path.name for path in folder.iterdir()]) < 2:
        time.sleep(0.05)
    os.kill(int(names[0]), signal.SIGKILL)


def test_a_worker_is_killed_and_the_pass_completes_with_the_same(encoder_folder, tmp_path, monkeypatch) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    loaded = load(resolve(encoder_folder), dtype="float32")
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        engine = engine_named("ray", workers=2)
        work = _watched(loaded, tmp_path)
        murder = threading.Thread(target=kill_one_of_two, args=(tmp_path,))
        murder.start()
        found = run(work, TEXTS, engine=engine).values
        murder.join()
        assert len(list(tmp_path.iterdir())) == 3  # two, and the one in place of the killed
        np.testing.assert_allclose(found, run(EmbeddingPass(loaded), TEXTS).values, atol=1e-5)
        with pytest.raises(ModelError, match="row 3: a row of which nothing can be said"):
            run(work, [*TEXTS[:2], "a bad row"], engine=engine)
        kept = Signals(loaded.checkpoint, workspace=Workspace(tmp_path / "kept"), engine=engine)
        np.testing.assert_allclose(kept.embeddings([{"text": text} for text in TEXTS[:4]]), found[:4], atol=1e-5)
    finally:
        ray.shutdown()


@pytest.mark.parametrize(("name", "options", "told"), [
    ("spark", {}, "no engine 'spark'"), ("local", {"workers": 2}, "neither an address"),
    ("ray", {"address": "127.0.0.1:1"}, "cannot be reached")])
def test_what_cannot_be_is_told(encoder_folder, name, options, told) -> None:
    with pytest.raises(OptionError, match=told):
        Signals(resolve(encoder_folder), engine=engine_named(name, **options)).embeddings([{"text": "a"}])
