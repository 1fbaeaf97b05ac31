"""Bytes that changed on the way: what is left loads, or is refused by name. Never another exception."""

import random
import shutil

import pytest
from test_exporting import adapted

from scrimp.checkpoints.exporting import load_adapter, save_adapter
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ScrimpError


def corrupt(folder, seed):
    """Change a few bytes of one file, cut it, or put bytes in."""
    dice = random.Random(seed)
    path = dice.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 1, 1, 2, 20))):
        at = dice.randrange(dice.choice((min(len(data), 4000), len(data))))  # a weight file's header matters most
        kind = dice.random()
        if kind < 0.6:
            data[at] = dice.choice((dice.randrange(256), dice.choice(b'"{}[]:,0123456789.eE-tfn\\')))
        elif kind < 0.75:
            data[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 9)))
        elif kind < 0.9:
            del data[max(at, 1):at + dice.randrange(1, 9)]
        elif dice.random() < 0.3:
            del data[max(at, 1):]
    path.write_bytes(bytes(data))


def outcomes(seeds, whole, work, attempt):
    """How many of the corrupted copies of ``whole`` loaded, and how many were refused."""
    found = {"loaded": 0, "refused": 0}
    for seed in seeds:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        corrupt(work, seed)
        try:
            attempt(work)
        except ScrimpError:
            found["refused"] += 1
        else:
            found["loaded"] += 1
    return found


@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_model_folders(kind, causal_folder, encoder_folder, tmp_path):
    whole = {"causal": causal_folder, "encoder": encoder_folder}[kind]
    found = outcomes(range(100), whole, tmp_path / "model", lambda folder: load(resolve(folder), dtype="float32"))
    assert min(found.values()) >= 5


def test_adapter_folders(louder, louder_folder, tmp_path):
    save_adapter(adapted(louder), tmp_path / "whole")
    checkpoint = resolve(louder_folder)
    found = outcomes(range(100), tmp_path / "whole", tmp_path / "adapter",
                     lambda folder: load_adapter(load(checkpoint, dtype="float32"), folder))
    assert min(found.values()) >= 5
