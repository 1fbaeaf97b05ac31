"""A classifier on an encoder as an ONNX graph: it says what the predictor says, or it is refused."""

from __future__ import annotations

import builtins
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import Loaded, load, resolve
from scrimp.core.errors import GuardError, ModelError, OptionError
from scrimp.examples.formats import read
from scrimp.examples.templates import Template
from scrimp.serving import graphs
from scrimp.serving.graphs import GRAPH, LABELS, check_kind, check_onnx, save_onnx
from scrimp.serving.predictors import Blend, FrozenHead, JoinedHead, LabelNames, PooledHead, Predictor, WordCounts

TEXTS = ["what a good film", "the quick brown fox, one two three", "a bad one"]
GIVEN = [f"{word} film {n}" for n in range(6) for word in ("good", "bad", "long")]
NAMES = ["positive", "negative", "neither"] * 6


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Of one layer: a graph takes seconds to be traced."""
    return load(resolve(tiny.encoder(tmp_path_factory.mktemp("encoder"), layers=1, hidden=32)), dtype="float32")


def frozen(encoder: Loaded) -> Predictor:
    return FrozenHead.fit(encoder, GIVEN, NAMES, max_tokens=40)


def pooled(encoder: Loaded, *, unit: bool = False) -> Predictor:
    """An encoder with LoRA that has learned something, under a head that has."""
    from peft import LoraConfig, get_peft_model

    rows = read([{"text": text, "label": label} for text, label in zip(GIVEN, NAMES, strict=True)])
    torch.manual_seed(1)
    body = get_peft_model(load(encoder.checkpoint, dtype="float32").model, LoraConfig(r=2, target_modules="all-linear"))
    for name, value in body.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    model = PooledClassifier(body, rows.labels, unit=unit)
    torch.nn.init.normal_(model.head.weight, std=1.0)
    loaded = encoder.with_model(model.eval())
    return PooledHead(loaded, Template.for_(encoder.tokenizer, rows, max_tokens=40))


@pytest.fixture(scope="module", params=[frozen, pooled, partial(pooled, unit=True)])
def shipped(request: Any, encoder: Loaded, tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    predictor, folder = request.param(encoder), tmp_path_factory.mktemp("graph")
    save_onnx(predictor, folder)
    return predictor, folder


def test_the_graph_says_what_the_predictor_says(shipped: tuple[Predictor, Path]) -> None:
    predictor, folder = shipped
    assert check_onnx(predictor, folder, TEXTS) < 1e-5
    assert {GRAPH, LABELS, "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / LABELS).read_text()) == {"labels": list(predictor.labels), "max_tokens": 40}


def test_vectors_come_with_the_probabilities(shipped: tuple[Predictor, Path]) -> None:
    import onnxruntime

    predictor, folder = shipped
    session = onnxruntime.InferenceSession(str(folder / GRAPH))
    ids = np.array([[5, 6, 7], [8, 9, 0]])
    shares, vectors = session.run(None, {"input_ids": ids, "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])})
    assert shares.shape == (2, 3) and vectors.shape == (2, 32)
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-5)
    if isinstance(predictor, FrozenHead):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


@pytest.fixture
def copy(shipped: tuple[Predictor, Path], tmp_path: Path) -> tuple[Predictor, Path]:
    return shipped[0], Path(shutil.copytree(shipped[1], tmp_path / "copy"))


def test_swapped_labels_are_found(copy: tuple[Predictor, Path]) -> None:
    predictor, folder = copy
    told = json.loads((folder / LABELS).read_text())
    (folder / LABELS).write_text(json.dumps({**told, "labels": told["labels"][::-1]}))
    with pytest.raises(GuardError, match="not the classifier"):
        check_onnx(predictor, folder, TEXTS)


def test_other_labels_are_found(copy: tuple[Predictor, Path]) -> None:
    predictor, folder = copy
    told = json.loads((folder / LABELS).read_text())
    (folder / LABELS).write_text(json.dumps({**told, "labels": ["a", "b", "c"]}))
    with pytest.raises(GuardError, match="not the classifier"):
        check_onnx(predictor, folder, TEXTS)


@pytest.mark.parametrize("kept", [1000, 0])
def test_a_graph_that_was_cut_short_is_found(copy: tuple[Predictor, Path], kept: int) -> None:
    predictor, folder = copy
    (folder / GRAPH).write_bytes((folder / GRAPH).read_bytes()[:kept])
    with pytest.raises(ModelError, match="cannot be run"):
        check_onnx(predictor, folder, TEXTS)


def test_texts_that_are_not_cut_are_found(copy: tuple[Predictor, Path]) -> None:
    predictor, folder = copy
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 20}))
    with pytest.raises(GuardError, match="not the classifier"):
        check_onnx(predictor, folder, TEXTS)


def test_a_graph_that_does_not_see_the_mask_is_found(encoder: Loaded, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = pooled(encoder)
    monkeypatch.setattr(graphs, "pool", lambda states, mask, pooling: states.mean(1) + 0.0 * mask.sum())
    save_onnx(predictor, tmp_path)
    monkeypatch.undo()
    with pytest.raises(GuardError, match="not the classifier"):
        check_onnx(predictor, tmp_path, TEXTS)


def test_what_is_no_graph_says_why(encoder: Loaded, causal_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="joined-head is not written") as caught:
        save_onnx(JoinedHead.fit(encoder, GIVEN, NAMES), tmp_path)
    assert "rungs: frozen-features, or with rungs: tuned-encoder" in str(caught.value.fix)
    with pytest.raises(ModelError, match="label-names is not written"):
        save_onnx(LabelNames(encoder, ["good", "bad"]), tmp_path)
    with pytest.raises(ModelError, match="blend is no classifier on an encoder alone"):
        save_onnx(Blend([frozen(encoder)], [1.0]), tmp_path)
    with pytest.raises(ModelError, match="word-counts is no classifier on an encoder"):
        save_onnx(WordCounts.fit(GIVEN, NAMES), tmp_path)
    with pytest.raises(ModelError, match="label-scorer is no classifier on an encoder") as caught:
        check_kind("label-scorer", resolve(causal_folder))
    assert "gguf" in str(caught.value.fix)
    assert not list(tmp_path.iterdir())


def test_without_the_packages_it_says_which_extra(encoder: Loaded, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("onnx"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(OptionError, match="not installed") as caught:
        save_onnx(frozen(encoder), tmp_path)
    assert "scrimp[onnx]" in str(caught.value.fix)
