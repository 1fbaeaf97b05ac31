"""Predictors that are a causal model asked through a template, untouched or tuned; and an encoder with a tuned head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from scrimp.checkpoints.exporting import is_adapted, load_export, save_adapter, save_merged
from scrimp.checkpoints.heads import PooledClassifier, save_head
from scrimp.checkpoints.loading import Checkpoint, Loaded
from scrimp.checkpoints.quantized import Bits, quantized_by
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, GuardError, ModelError, OptionError
from scrimp.core.progress import bar, warn
from scrimp.examples.records import Layout, input_text
from scrimp.examples.templates import Template
from scrimp.serving.base import Manifest, Prediction, Predictor, as_scores, as_sets, reference
from scrimp.serving.memory import Memory
from scrimp.serving.scoring import Normalise, calibrated, score_labels
from scrimp.serving.textlosses import token_losses
from scrimp.signals.decoding import generate
from scrimp.signals.passes import by_length, charge, evaluating, padded

__all__ = ["SHOWN", "Asked", "Generator", "LabelScorer", "PooledHead", "bits_here"]

_CONTENT_FREE = ("N/A", "[MASK]", "")  # as in Zhao et al. 2021
_MAX_NEW_TOKENS = 256
_SHOWN = "shown"  # the setting, and the folder of what is shown
_MOST_SHOWN = 64
SHOWN = 4  #: rows that are shown before a question, if nothing else is said


class Asked(Predictor):
    """A model together with the template that it was tuned with, and is to be asked with.

    Args:
        loaded: the model, with its adapter or head if it has one.
        template: the one that training used.
        memory: of rows that are shown before each question, the most similar ones; None shows none.
        shown: how many of them, as far as the model reads that many tokens.
    """

    def __init__(self, loaded: Loaded, template: Template, *, memory: Memory | None = None, shown: int = SHOWN) -> None:
        if memory is not None and template.layout not in (Layout.LABEL, Layout.PROMPT):
            raise DataError(f"no rows are shown before {template.layout.noun}")
        self._loaded, self._template, self.labels = loaded, template, tuple(template.labels)
        self._memory, self._shown = memory, shown
        self._fingerprint = template.fingerprint(loaded.tokenizer)

    @property
    def template(self) -> Template:
        """With which the model is asked."""
        return self._template

    def settings(self) -> dict[str, Any]:
        """What else `restore` needs to know."""
        return {}

    def shown_before(self, rows: Sequence[Mapping[str, Any]]) -> list[list[tuple[str, str]]]:
        """Of each row the questions and answers that are shown before it."""
        if self._memory is None:
            return [[] for _ in rows]
        return self._memory.nearest([input_text(row) for row in rows], self._shown)

    def prompts(self, rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """What the model is asked about each row."""
        return [self._prompt(row, shown) for row, shown in zip(rows, self.shown_before(rows), strict=True)]

    def _prompt(self, row: Mapping[str, Any], shown: Sequence[tuple[str, str]]) -> list[int]:
        """With as many of the rows that are shown, from the most similar, as the model has positions for."""
        ids = self._template.prompt(row, self._loaded.tokenizer, shown)
        most = getattr(self._loaded.model.config, "max_position_embeddings", None) or len(ids)
        if not shown or len(ids) + self._template.max_tokens <= most:
            return ids
        return self._prompt(row, shown[1:])

    def write(self, folder: Path) -> Manifest:
        _write_model(self._loaded, folder)
        if self._memory is not None:
            self._memory.write(folder / _SHOWN)
        return Manifest(kind=self.kind, labels=self.labels, template=self._template.model_dump(mode="json"),
                        template_fingerprint=self._fingerprint, base=reference(self._loaded),
                        settings={**self.settings(), **({_SHOWN: self._shown} if self._memory is not None else {})})

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Self:
        loaded = load_export(folder, manifest.needed(checkpoint), dtype=manifest.dtype, base_bits=bits_here(manifest))
        return cls.over(loaded, folder, manifest)

    @classmethod
    def over(cls, loaded: Loaded, folder: Path, manifest: Manifest) -> Self:
        """What `write` put into ``folder``, over a model that is in memory already.

        Raises:
            GuardError: if the template would write other tokens than in training.
        """
        template = _template(manifest, folder)
        if template.fingerprint(loaded.tokenizer) != manifest.template_fingerprint:
            raise GuardError("the template writes other tokens than in training", where=str(folder),
                             why="the tokenizer, its chat template, or scrimp's rendering has changed since",
                             fix="use the tokenizer and the scrimp version that the model was tuned with")
        own = {name: value for name, value in manifest.settings.items() if name != _SHOWN}
        return cls(loaded, template, **cls.options_from(manifest.model_copy(update={"settings": own})),
                   **_remembered(manifest, folder))

    @classmethod
    def options_from(cls, manifest: Manifest) -> dict[str, Any]:
        """Checked keyword arguments of the constructor from the manifest's settings of this kind."""
        manifest.positive()
        return {}


class LabelScorer(Asked):
    """A causal model's probabilities of the label texts, over the labels alone.

    Args:
        calibrate: divide by the labels' probabilities after inputs without content; see `scoring.calibrated`.
        normalise: ``sum`` compares whole label texts, ``mean`` their average token.
    """

    kind: ClassVar[str] = "label-scorer"

    def __init__(self, loaded: Loaded, template: Template, *, calibrate: bool = False,
                 normalise: Normalise = "sum", memory: Memory | None = None, shown: int = SHOWN) -> None:
        if template.layout is not Layout.LABEL or len(template.labels) < 2:
            raise DataError("label scoring needs a template with at least two labels")
        super().__init__(loaded, template, memory=memory, shown=shown)
        self._calibrate, self._normalise = calibrate, normalise
        self._prior: np.ndarray | None = None

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        scores = self._score(rows, meter)
        if self._calibrate:
            if self._prior is None:
                self._prior = self._score([{"text": text} for text in _CONTENT_FREE], meter)
            scores = calibrated(scores, self._prior)
        return as_scores(scores, self.labels)

    def _score(self, rows: Sequence[Mapping[str, Any]], meter: Meter | None) -> np.ndarray:
        answers = self._template.answers(self._loaded.tokenizer)
        return score_labels(self._loaded, self.prompts(rows), [answers[label] for label in self.labels],
                            normalise=self._normalise, meter=meter)

    def settings(self) -> dict[str, Any]:
        return {"calibrate": self._calibrate, "normalise": self._normalise}

    @classmethod
    def options_from(cls, manifest: Manifest) -> dict[str, Any]:
        given = manifest.settings
        if set(given) != {"calibrate", "normalise"} or not isinstance(given["calibrate"], bool) \
                or given["normalise"] not in ("sum", "mean"):
            raise ModelError("the label scorer's settings are damaged", why=str(given)[:200])
        return dict(given)


class Generator(Asked):
    """A causal model's most probable answer; of documents (text layout) the loss instead.

    Of preference pairs that have both answers it gives each one's mean log-probability a token, in nats.

    Args:
        max_new_tokens: how long an answer can be.
    """

    kind: ClassVar[str] = "generator"

    def __init__(self, loaded: Loaded, template: Template, *, max_new_tokens: int = _MAX_NEW_TOKENS,
                 memory: Memory | None = None, shown: int = SHOWN) -> None:
        super().__init__(loaded, template, memory=memory, shown=shown)
        self._max_new_tokens = max_new_tokens

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        tokenizer = self._loaded.tokenizer
        if self._template.layout is Layout.TEXT:
            losses = token_losses(self._loaded, [self._template.encode(row, tokenizer) for row in rows], meter=meter)
            return [{"loss": loss, "tokens": count} for loss, count in losses]
        if self._template.layout is Layout.PREFERENCE and all("rejected" in row for row in rows):
            return self._compared(rows, meter)
        made = generate(self._loaded, self.prompts(rows), meter=meter, max_new_tokens=self._max_new_tokens,
                        stop=[self._template.end(tokenizer)])
        return [{"text": tokenizer.decode(ids, skip_special_tokens=True)} for ids in made]

    def _compared(self, rows: Sequence[Mapping[str, Any]], meter: Meter | None) -> list[Prediction]:
        pairs = [self._template.encode(row, self._loaded.tokenizer) for row in rows]
        losses = token_losses(self._loaded, [*pairs, *(pair.second for pair in pairs)], meter=meter)
        means = [-loss / count for loss, count in losses]
        return [{"chosen": a, "rejected": b} for a, b in zip(means[:len(rows)], means[len(rows):], strict=True)]

    def settings(self) -> dict[str, Any]:
        return {"max_new_tokens": self._max_new_tokens}

    @classmethod
    def options_from(cls, manifest: Manifest) -> dict[str, Any]:
        return {"max_new_tokens": int(manifest.positive("max_new_tokens")["max_new_tokens"])}


class PooledHead(Asked):
    """An encoder with a linear head on its pooled states; ``loaded.model`` is the `PooledClassifier`."""

    kind: ClassVar[str] = "pooled-head"

    def __init__(self, loaded: Loaded, template: Template) -> None:
        if not isinstance(loaded.model, PooledClassifier):
            raise ModelError(f"a {type(loaded.model).__name__} has no pooled head")
        super().__init__(loaded, template)
        self.labels = loaded.model.labels

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        model: Any = self._loaded.model
        encoded = [self._template.encode_pooled(row, self._loaded.tokenizer, ()).ids for row in rows]
        logits, device = torch.zeros(len(rows), model.head.out_features), next(model.parameters()).device
        with evaluating(model), bar("reading", len(rows)) as shown:
            for batch in by_length([len(ids) for ids in encoded]):
                ids, real = padded([encoded[i] for i in batch], self._loaded.pad_id, left=False, device=device)
                logits[batch] = model(input_ids=ids, attention_mask=real).float().cpu()
                charge(meter, model, int(real.sum()))
                shown.advance(len(batch))
        if not logits.isfinite().all():
            raise ModelError("the head's logits are not finite", where=self._loaded.checkpoint.name,
                             why="its weights hold NaN or infinity, or overflow in this precision")
        if model.threshold is not None:
            return as_sets(logits.double().sigmoid().numpy(), self.labels, model.threshold)
        if model.scale is None:
            return as_scores(logits.double().numpy(), self.labels)
        centre, spread = model.scale
        return [{"score": centre + spread * said} for said in logits.double()[:, 0].tolist()]


def _write_model(loaded: Loaded, folder: Path) -> None:
    """What the base lacks: an adapter, or all weights if all were tuned, and a head; nothing of an untouched model."""
    model: Any = loaded.model
    pooled = isinstance(model, PooledClassifier)
    body = model.encoder if pooled else model
    if is_adapted(body):
        save_adapter(loaded, folder)
    elif _moved(model, body):
        save_merged(loaded, folder)
    elif pooled:
        save_head(model, folder)


def _moved(model: Any, body: Any) -> bool:
    """Whether an adapter let the body itself be trained."""
    return hasattr(model, "compute_dtype") and any(p.requires_grad for p in body.parameters())


def bits_here(manifest: Manifest) -> Bits:
    """Of the base that the predictor was scored over, or those that it is loaded in where it cannot be had in four."""
    if manifest.base_bits == 4:
        try:
            quantized_by()
        except OptionError as error:
            warn(f"{error.what}: the base is used as it is loaded, and may say something else than what was scored")
            return 16
    return manifest.base_bits


def _template(manifest: Manifest, folder: Path) -> Template:
    try:
        return Template.parse(manifest.template or {}, where=str(folder))
    except OptionError as error:
        raise ModelError("the saved template is damaged", where=str(folder), why=error.what) from None


def _remembered(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """The rows that are shown before a question, and how many of them; nothing where none are."""
    if _SHOWN not in manifest.settings:
        return {}
    shown = manifest.settings[_SHOWN]
    if not isinstance(shown, int) or isinstance(shown, bool) or not 0 < shown <= _MOST_SHOWN:
        raise ModelError(f"{shown!r:.40} rows cannot be shown before a question", where=str(folder))
    return {"memory": Memory.read(folder / _SHOWN), "shown": shown}
