"""Signals: what methods read of examples, computed when first asked for and then kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from scrimp.checkpoints.loading import Checkpoint, Dtype, Loaded, load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import OptionError, WorkspaceError
from scrimp.core.workspace import Workspace, atomic_write, fingerprint
from scrimp.examples.records import Examples, input_text
from scrimp.examples.sequences import Spooled, Viewed
from scrimp.examples.templates import Encoded, Template
from scrimp.signals.activations import InputStatistics, activations, packed, unpacked
from scrimp.signals.answers import Answers
from scrimp.signals.embeddings import EmbeddingPass, StatePass, StatePooling
from scrimp.signals.generations import Generations, LocalModel, SamplingOptions, Speaker
from scrimp.signals.gradients import GradientPass, Gradients, Moments
from scrimp.signals.losses import LossPass, TokenLosses, told
from scrimp.signals.passes import Engine, Pass, Row, kept, keys_of, local, run

__all__ = ["Signals"]

_FILE = "signal.safetensors"
_Make = Callable[[Path | None], dict[str, torch.Tensor]]  # given where it may keep what it has so far


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
        self._asked: dict[str, Generations] = {}

    def language(self, name: str | None = None) -> Loaded:
        """The language model, or another one by name; loaded once, in the precision that suits the machine."""
        asked = self._model if name is None else name
        return self._load(resolve(asked) if isinstance(asked, str) else asked, "auto")

    def _load(self, checkpoint: Checkpoint, dtype: Dtype) -> Loaded:
        if (key := (checkpoint.fingerprint, dtype)) not in self._loaded:
            self._loaded[key] = load(checkpoint, dtype=dtype)
        return self._loaded[key]

    def encoded(self, rows: Examples, loaded: Loaded | None = None) -> Sequence[Encoded]:
        """Rows as the language model, or ``loaded``, would learn them: token ids, and which of them are the answer.

        They are on disk, and read when they are asked for.

        Raises:
            OptionError: rows with scores or several labels, which no language model learns.
        """
        if not rows.layout.asked:
            raise OptionError(f"no language model learns {rows.layout.noun}, or says anything of such rows",
                              where="layout", fix="name the layout 'text', or choose by embeddings")
        tokenizer = (loaded or self.language()).tokenizer
        each = Template.for_(tokenizer, rows).encode_each(rows, tokenizer)
        return Viewed(Spooled(each, self._workspace.root if self._workspace else None), Encoded.of)

    def embeddings(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Float32 [N, D], the mean of the encoder's last states over each row's `input_text`.

        The encoder runs in float32 everywhere, so that the same rows are chosen on every machine.
        """
        encoder = self._encoder = resolve(self._encoder) if isinstance(self._encoder, str) else self._encoder
        work, texts = EmbeddingPass(self._load(encoder, "float32")), Viewed(rows, input_text)
        found = self._embedded[_content(texts)] = self._answers(work, work.question, texts)
        return found.values

    def states(self, rows: Examples, *, pooling: StatePooling = "position") -> np.ndarray:
        """Float32 [N, D], the language model's last states over each whole row, answer included, pooled."""
        loaded = self.language()
        work, ids = StatePass(loaded, pooling), Viewed(self.encoded(rows), attrgetter("ids"))
        return self._answers(work, [loaded.checkpoint.fingerprint, loaded.dtype, pooling], ids).values

    @property
    def meter(self) -> Meter:
        """For what a method does beside the passes, such as a short training; one of its own if none was given."""
        return self._meter or Meter()

    def known_embeddings(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """`embeddings` of rows whose embeddings were asked for already; else None, and nothing is computed."""
        found = self._embedded.get(_content(Viewed(rows, input_text)))
        return None if found is None else found.values.copy()

    def losses(self, model: Any, encoded: Sequence[Encoded]) -> Sequence[TokenLosses]:
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
        def make(kept: Path | None) -> dict[str, torch.Tensor]:
            return packed(activations(model, encoded, layers, gram=gram, meter=self._meter, kept=kept))

        asked = [_weights(model), [row.ids for row in encoded], layers, gram]
        return unpacked(self._kept("activations", asked, make))

    def generations(self, prompts: Sequence[str], by: Loaded | Speaker | None = None, *,
                    sampling: SamplingOptions | None = None) -> list[str]:
        """What the language model, or another one, or an endpoint says to each prompt; see `Generations`."""
        by = self.language() if by is None else by
        speaker = LocalModel(by, _weights(by.model), self._meter) if isinstance(by, Loaded) else by
        address = fingerprint([speaker.identity(), (sampling or SamplingOptions()).deciding()])
        made = Generations(speaker, sampling, workspace=self._workspace, meter=self._meter)
        found = self._asked.setdefault(address, made)
        found.speaker = speaker
        return found(prompts)

    def _answers(self, work: Pass[Row], question: Any, rows: Sequence[Row]) -> Answers:
        """The answers of a pass: from this process, from the workspace, or computed now."""
        if self._workspace is not None:
            return kept(work, question, rows, self._workspace, meter=self._meter, engine=self._engine)
        address = fingerprint([work.kind, question, fingerprint(keys_of(work, rows).tobytes())])
        if address not in self._found:
            self._found[address] = run(work, rows, meter=self._meter, engine=self._engine)
        return self._found[address].copy()

    def _kept(self, kind: str, asked: Any, make: _Make) -> dict[str, torch.Tensor]:
        """The arrays that answer a question: from memory, from disk, or made now."""
        address = fingerprint([kind, asked])
        if address not in self._memory:
            self._memory[address] = make(None) if self._workspace is None else self._stored(kind, address, make)
        return self._memory[address]

    def _stored(self, kind: str, address: str, make: _Make) -> dict[str, torch.Tensor]:
        assert self._workspace is not None
        def write(folder: Path) -> None:
            atomic_write(folder / _FILE, save(make(folder / _FILE)))  # where it is kept while it is made, too

        folder = self._workspace.step(kind, address, write)
        try:
            return load_file(folder / _FILE)
        except (OSError, SafetensorError) as error:
            raise WorkspaceError("is damaged", where=str(folder), why=str(error)[:200],
                                 fix="delete this folder; it is made again") from None


def _content(texts: Sequence[str]) -> str:
    """A hash of texts, in order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(fingerprint([text]).encode())
    return digest.hexdigest()


def _weights(model: Any) -> str:
    """A hash of all weights, adapters included: a model that was trained on is another model."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
