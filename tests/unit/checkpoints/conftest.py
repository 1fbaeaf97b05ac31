"""Copies of the tiny models to break, and a cache of their own."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
from breaking import edit_tensors

from scrimp.checkpoints.loading import Loaded, load, resolve


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def causal_copy(causal_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(causal_folder, tmp_path / "causal"))


@pytest.fixture
def encoder_copy(encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder_folder, tmp_path / "encoder"))


@pytest.fixture(scope="session")
def louder_folder(causal_folder: Path, tmp_path_factory) -> Path:
    """The tiny Llama with weights ten times as large, so that logits are about as large as a real model's."""
    folder = Path(shutil.copytree(causal_folder, tmp_path_factory.mktemp("louder") / "model"))
    edit_tensors(folder / "model.safetensors", lambda w: {k: v * (1 if "norm" in k else 10) for k, v in w.items()})
    return folder


@pytest.fixture(scope="session")
def louder_once(louder_folder: Path) -> Loaded:
    return load(resolve(louder_folder), dtype="float32")


@pytest.fixture
def louder(louder_once: Loaded) -> Loaded:
    return louder_once.with_model(copy.deepcopy(louder_once.model))


@pytest.fixture(scope="session")
def encoder_once(encoder_folder: Path) -> Loaded:
    return load(resolve(encoder_folder), dtype="float32")


@pytest.fixture
def encoder(encoder_once: Loaded) -> Loaded:
    return encoder_once.with_model(copy.deepcopy(encoder_once.model))
