"""What all tests share: offline, two threads at most, and tiny random models on disk."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import tiny


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a ChatML tokenizer, saved as any checkpoint is."""
    return tiny.causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT, saved as any checkpoint is."""
    return tiny.encoder(tmp_path_factory.mktemp("encoder"))
