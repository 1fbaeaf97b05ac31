"""A classifier on an encoder as one ONNX graph, from token ids to probabilities, and the proof that it is that one."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scrimp.checkpoints.exporting import merge
from scrimp.checkpoints.heads import Pooling, pool
from scrimp.checkpoints.loading import Checkpoint
from scrimp.checkpoints.validation import quiet, read_object, refusing
from scrimp.core.errors import GuardError, ModelError, OptionError
from scrimp.core.workspace import atomic_write
from scrimp.serving.base import Prediction, Predictor
from scrimp.serving.language import PooledHead
from scrimp.serving.linear import FrozenHead

__all__ = ["GRAPH", "LABELS", "Graph", "check_kind", "check_onnx", "graph_of", "needs_onnx", "save_onnx"]

GRAPH, LABELS = "model.onnx", "labels.json"
TOLERANCE = 1e-4  #: largest difference of a probability between predictor and graph, both in float32
_INPUTS, _OUTPUTS = ("input_ids", "attention_mask"), ("probabilities", "embeddings")
_PROBES = ("", "a", "Short.", "naïve 你好 😀", "  spaces\n\nand breaks ", "A longer text with more words. " * 4,
           "word " * 2000)
_WRITTEN = "for ONNX fit with rungs: frozen-features, or with rungs: tuned-encoder"
_TOGETHER = (1, 3, 64)  # texts that are asked at a time, shorter ones filled up to the longest


class Graph(nn.Module):
    """Label probabilities [B, C] and vectors [B, D], both float32, of token ids and their mask [B, L].

    Args:
        body: whose output has ``last_hidden_state``.
        weight, bias: of the linear layer over the vectors, [C, D] and [C].
        unit: whether vectors are brought to length one.
    """

    def __init__(self, body: Any, weight: np.ndarray, bias: np.ndarray, *, pooling: Pooling, unit: bool) -> None:
        super().__init__()
        self.body, self.pooling, self.unit = body, pooling, unit
        self.weight, self.bias = (nn.Parameter(torch.tensor(np.asarray(value, dtype=np.float32)), requires_grad=False)
                                  for value in (weight, bias))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors = pool(states, attention_mask, self.pooling)
        if self.unit:
            vectors = nn.functional.normalize(vectors, dim=-1, eps=1e-12)
        return torch.softmax(vectors @ self.weight.T + self.bias, dim=-1), vectors


def needs_onnx() -> None:
    """Raise an OptionError unless what writes and runs ONNX is installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise OptionError("ONNX needs onnx, onnxscript and onnxruntime, which are not installed", where="form",
                          why=str(error), fix="pip install 'scrimp[onnx]'") from None


def check_kind(kind: str, checkpoint: Checkpoint | None) -> None:
    """Raise a ModelError unless predictors of the ``kind`` that stand on ``checkpoint`` can be written.

    It says why, and in which form they can be exported.
    """
    if checkpoint is None or checkpoint.kind != "encoder":
        raise ModelError(f"a {kind} is no classifier on an encoder alone, and is not written as ONNX",
                         fix=f"a tuned language model can be exported with form: adapter, merged or gguf; {_WRITTEN}")
    if kind not in (FrozenHead.kind, PooledHead.kind):
        raise ModelError(f"a {kind} is not written as ONNX", why="beside token ids it reads words or labels, of which "
                         "a graph of numbers knows nothing", fix=_WRITTEN)


def graph_of(predictor: Predictor) -> tuple[Graph, int]:
    """What ``predictor``, loaded in float32, computes of token ids, and how many tokens of a text it reads.

    Raises:
        ModelError: see `check_kind`.
    """
    loaded = predictor.loaded
    check_kind(predictor.kind, loaded.checkpoint if loaded else None)
    assert loaded is not None
    head: Any = loaded.model if isinstance(predictor, PooledHead) else getattr(predictor, "head", None)
    if not predictor.labels or getattr(head, "threshold", None) is not None:
        raise ModelError(f"a {predictor.kind} that says {'several labels' if predictor.labels else 'scores'} is not "
                         "written as ONNX", why="a graph ends in the probabilities of labels of which one is true",
                         fix=_WRITTEN)
    if isinstance(predictor, FrozenHead):
        weight, bias = predictor.linear()
        return Graph(loaded.model, weight, bias, pooling="mean", unit=True), predictor.longest
    model: Any = merge(loaded, dtype=torch.float32).model
    weight, bias = (value.detach().cpu().numpy() for value in (model.head.weight, model.head.bias))
    assert isinstance(predictor, PooledHead)
    return (Graph(model.encoder, weight, bias, pooling=model.pooling, unit=model.unit),
            min(predictor.template.max_tokens, model.config.max_position_embeddings))


def save_onnx(predictor: Predictor, folder: Path) -> None:
    """Write ``model.onnx``, the tokenizer's files and ``labels.json`` into ``folder``.

    Args:
        predictor: loaded in float32.

    Raises:
        OptionError: see `needs_onnx`.
        ModelError: see `graph_of`; or the graph cannot be traced.
    """
    needs_onnx()
    graph, longest = graph_of(predictor)
    assert predictor.loaded is not None
    ids = torch.full((2, 8), predictor.loaded.pad_id)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    moving = ({0: "batch", 1: "length"}, {0: "batch", 1: "length"})
    with quiet(), _unspoken(), torch.inference_mode(False), refusing("the graph cannot be written", folder / GRAPH):
        torch.onnx.export(graph.eval(), (ids, mask), f=str(folder / GRAPH), dynamo=True, external_data=False,
                          input_names=list(_INPUTS), output_names=list(_OUTPUTS), dynamic_shapes=moving)
    tokenizer = predictor.loaded.tokenizer
    kept = tokenizer.model_max_length
    try:
        tokenizer.model_max_length = longest
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.model_max_length = kept
    atomic_write(folder / LABELS, json.dumps({"labels": list(predictor.labels), "max_tokens": longest}, indent=1))


@contextmanager
def _unspoken() -> Iterator[None]:
    """Without what the exporter says of its steps and of packages that it could use."""
    said = logging.getLogger("torch.onnx")
    level = said.level
    said.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        said.setLevel(level)


def check_onnx(predictor: Predictor, folder: Path, texts: Sequence[str]) -> float:
    """Ask the exported folder alone, and compare with what ``predictor`` says of the same texts.

    Args:
        predictor: loaded in float32.
        texts: a few that look like the task's; asked beside empty, short and long ones, alone and together. One of
            no tokens is not asked, since a graph takes at least one.

    Returns:
        the largest difference of a probability.

    Raises:
        ModelError: a damaged file.
        GuardError: another label, or a probability that differs by more than `TOLERANCE`.
    """
    assert predictor.loaded is not None
    asked = [text for text in (*texts, *_PROBES) if predictor.loaded.tokenizer(text)["input_ids"]]
    wanted = predictor.predict([{"text": text} for text in asked])
    largest = 0.0
    for together in _TOGETHER:
        for said, text, expected in zip(_answers(folder, asked, together), asked, wanted, strict=True):
            largest = max(largest, _difference(said, expected, text, where=str(folder)))
    return largest


def _difference(said: Prediction, expected: Prediction, text: str, *, where: str) -> float:
    names = said["scores"].keys() == expected["scores"].keys()
    found = max(abs(said["scores"][name] - share) for name, share in expected["scores"].items()) if names else 1.0
    close = sorted(expected["scores"].values())[-2:]
    if not found <= TOLERANCE or (said["label"] != expected["label"] and close[1] - close[0] > TOLERANCE):
        raise GuardError("the exported graph is not the classifier that was evaluated", where=where,
                         why=f"of {text[:40]!r} it says {said['label']!r}, not {expected['label']!r}; a probability "
                             f"differs by {found:.2g}, {TOLERANCE:g} is tolerated")
    return found


def _answers(folder: Path, texts: Sequence[str], together: int) -> list[Prediction]:
    """What anyone gets who has the folder and no scrimp."""
    import onnxruntime
    from transformers import AutoTokenizer

    told = read_object(folder / LABELS)
    with refusing("the exported graph cannot be run", folder):
        session = onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        said: list[Prediction] = []
        for begin in range(0, len(texts), together):
            inputs: Mapping[str, Any] = tokenizer(list(texts[begin:begin + together]), padding=True, truncation=True,
                                                  split_special_tokens=True, return_tensors="np")
            shares, _ = session.run(list(_OUTPUTS), {name: inputs[name].astype(np.int64) for name in _INPUTS})
            said += [{"label": told["labels"][int(row.argmax())],
                      "scores": dict(zip(told["labels"], map(float, row), strict=True))} for row in shares]
    return said
