"""Signals: what methods read of examples, computed when first asked for and then kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from scrimp.checkpoints.loading import Checkpoint, Dtype, Loaded, load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import WorkspaceError
from scrimp.core.workspace import Workspace, atomic_write, fingerprint
from scrimp.examples.records import Examples, input_text
from scrimp.examples.templates import Encoded, Template
from scrimp.signals.activations import InputStatistics, activations
from scrimp.signals.answers import Answers
from scrimp.signals.embeddings import EmbeddingPass, StatePass, StatePooling
from scrimp.signals.gradients import GradientPass, Gradients, Moments
from scrimp.signals.losses import LossPass, TokenLosses, told
from scrimp.signals.passes import Engine, Pass, Row, local, run

__all__ = ["Signals"]

_FILE = "signal.safetensors"


class Signals:
    """The passes over examples, each made once.

    What was found is kept in memory and, if there is a workspace, on disk, under the content of the rows and of the
    model's weights: the same question is never computed twice, and a changed model is another question.

    Args:
        encoder: whose embeddings are meant; a name is looked up when embeddings are asked for.
        model: the language model whose losses and gradients are meant; looked up when it is asked for.
        workspace: keeps what is found beyond this process.
        meter: what the passes are charged to; what was kept costs nothing.
        engine: where passes are computed.
    """

    def __init__(self, encoder: Checkpoint | str = "minilm", *, model: Checkpoint | str = "smollm2-135m",
                 workspace: Workspace | None = None, meter: Meter | None = None, engine: Engine = local) -> None:
        self._encoder, self._model, self._workspace, self._meter = encoder, model, workspace, meter
        self._memory: dict[str, dict[str, torch.Tensor]] = {}
        self._engine = engine
        self._found: dict[str, Answers] = {}
        self._embedded: dict[str, Answers] = {}
        self._loaded: dict[tuple[str, Dtype], Loaded] = {}

    def language(self, name: str | None = None) -> Loaded:
        """The language model, or another one by name; loaded once, in the precision that suits the machine."""
        asked = self._model if name is None else name
        return self._load(resolve(asked) if isinstance(asked, str) else asked, "auto")

    def _load(self, checkpoint: Checkpoint, dtype: Dtype) -> Loaded:
        if (key := (checkpoint.fingerprint, dtype)) not in self._loaded:
            self._loaded[key] = load(checkpoint, dtype=dtype)
        return self._loaded[key]

    def encoded(self, rows: Examples, loaded: Loaded | None = None) -> list[Encoded]:
        """Rows as the language model, or ``loaded``, would learn them: token ids, and which of them are the answer."""
        tokenizer = (loaded or self.language()).tokenizer
        return Template.for_(tokenizer, rows).encode_all(rows, tokenizer)

    def embeddings(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Float32 [N, D], the mean of the encoder's last states over each row's `input_text`.

        The encoder runs in float32 everywhere, so that the same rows are chosen on every machine.
        """
        encoder = self._encoder = resolve(self._encoder) if isinstance(self._encoder, str) else self._encoder
        work, texts = EmbeddingPass(self._load(encoder, "float32")), [input_text(row) for row in rows]
        found = self._embedded[fingerprint(texts)] = self._answers(work, [encoder.fingerprint], texts)
        return found.values

    def states(self, rows: Examples, *, pooling: StatePooling = "position") -> np.ndarray:
        """Float32 [N, D], the language model's last states over each whole row, answer included, pooled."""
        loaded, ids = self.language(), [row.ids for row in self.encoded(rows)]
        work = StatePass(loaded, pooling)
        return self._answers(work, [loaded.checkpoint.fingerprint, loaded.dtype, pooling], ids).values

    @property
    def meter(self) -> Meter:
        """For what a method does beside the passes, such as a short training; one of its own if none was given."""
        return self._meter or Meter()

    def known_embeddings(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """`embeddings` of rows whose embeddings were asked for already; else None, and nothing is computed."""
        found = self._embedded.get(fingerprint([input_text(row) for row in rows]))
        return None if found is None else found.values.copy()

    def losses(self, model: Any, encoded: Sequence[Encoded]) -> list[TokenLosses]:
        """See `scrimp.signals.losses.losses`."""
        return told(self._answers(LossPass(model), [_weights(model)], encoded))

    def gradients(self, model: Any, encoded: Sequence[Encoded], *, parameters: str = ".*", width: int = 256,
                  seed: int = 0, moments: Moments | None = None) -> Gradients:
        """See `scrimp.signals.gradients.gradients`."""
        work = GradientPass(model, parameters, width, seed, moments)
        asked = [_weights(model), parameters, width, seed, moments.content() if moments else None]
        found = self._answers(work, asked, encoded).values
        return Gradients(found[:, 0], found[:, 1:])

    def activations(self, model: Any, encoded: Sequence[Encoded], layers: Sequence[str] | None = None, *,
                    gram: bool = False) -> dict[str, InputStatistics]:
        """See `scrimp.signals.activations.activations`."""
        def make() -> dict[str, torch.Tensor]:
            made = activations(model, encoded, layers, gram=gram, meter=self._meter)
            return {f"{part}:{name}": torch.as_tensor(value).cpu() for name, one in made.items()
                    for part, value in vars(one).items() if value is not None}

        asked = [_weights(model), [row.ids for row in encoded], layers, gram]
        found = self._kept("activations", asked, make)
        names = [key.partition(":")[2] for key in found if key.startswith("count:")]
        return {name: InputStatistics(int(found[f"count:{name}"]), found[f"total:{name}"], found[f"squares:{name}"],
                                      found.get(f"gram:{name}")) for name in names}

    def _answers(self, work: Pass[Row], question: Any, rows: Sequence[Row]) -> Answers:
        """The answers of a pass: from this process, from the workspace, or computed now.

        A folder of the workspace holds those to the same rows; rows of which another one knows the answer to the same
        question are taken from there.
        """
        keys = _keys(work, rows)
        kind, address = f"{work.kind}.{fingerprint(question)[:12]}", fingerprint([question, keys.tobytes().hex()])
        if self._workspace is None:
            if address not in self._found:
                self._found[address] = run(work, rows, meter=self._meter, engine=self._engine)
            return self._found[address].copy()
        root = self._workspace.root

        def make(folder: Path) -> None:
            lines = [work.lines(row) for row in rows]
            answers = Answers.in_folder(folder, keys, lines, work.width, sorted(root.glob(f"{kind}-*")))
            run(work, rows, meter=self._meter, engine=self._engine, answers=answers)

        return Answers.finished(self._workspace.step(kind, address, make))

    def _kept(self, kind: str, asked: Any, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """The arrays that answer a question: from memory, from disk, or made now."""
        address = fingerprint([kind, asked])
        if address not in self._memory:
            self._memory[address] = make() if self._workspace is None else self._stored(kind, address, make)
        return self._memory[address]

    def _stored(self, kind: str, address: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        assert self._workspace is not None
        def write(folder: Path) -> None:
            atomic_write(folder / _FILE, save({name: value.contiguous() for name, value in make().items()}))

        folder = self._workspace.step(kind, address, write)
        try:
            return load_file(folder / _FILE)
        except (OSError, SafetensorError) as error:
            raise WorkspaceError("is damaged", where=str(folder), why=str(error)[:200],
                                 fix="delete this folder; it is made again") from None


def _keys(work: Pass[Row], rows: Sequence[Row]) -> np.ndarray:
    """Uint8 [N, 16], of what decides each row's answer."""
    told = b"".join(bytes.fromhex(fingerprint([work.content(row)])[:32]) for row in rows)
    return np.frombuffer(told, dtype=np.uint8).reshape(-1, 16)


def _weights(model: Any) -> str:
    """A hash of all weights, adapters included: a model that was trained on is another model."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
