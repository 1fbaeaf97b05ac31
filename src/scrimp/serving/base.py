"""What every predictor is, and the folder it is saved in: `scrimp.json` and safetensors, nothing that could run.

A folder comes from anywhere, so it is distrusted: every key, shape and number is checked before it is used.
"""

from __future__ import annotations

import abc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scrimp.checkpoints.loading import Checkpoint, Dtype, Loaded
from scrimp.checkpoints.quantized import Bits, bits_of
from scrimp.checkpoints.validation import read_object
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError, OptionError, nearest
from scrimp.core.options import Options
from scrimp.core.workspace import atomic_folder, atomic_write, folder_bytes

__all__ = ["FORMAT", "MANIFEST", "BaseModelRef", "Manifest", "Prediction", "Predictor", "as_scores", "as_sets",
           "read_manifest", "read_tensors", "reference", "texts_of", "wanted_text", "write_tensors"]

FORMAT = 1
MANIFEST = "scrimp.json"
#: {"label", "scores"}, {"labels", "scores"}, {"score", "low"?, "high"?}, {"text"};
#: of documents {"loss", "tokens"}, of preference pairs {"chosen", "rejected"}
Prediction = dict[str, Any]


class BaseModelRef(Options):
    """The pretrained model that a predictor stands on: found by name, recognised by fingerprint.

    Attributes:
        bits: 4 if its linear layers were in four bits when the predictor was trained and scored.
    """

    name: str
    fingerprint: str
    dtype: Dtype
    bits: Bits = 16
    licence: str | None = None


class Manifest(Options):
    """The content of `scrimp.json`.

    Attributes:
        format: of this folder; a newer one is refused.
        kind: of the predictor.
        labels: what it chooses from, in the order of its weights; empty where it does not choose.
        template, template_fingerprint: how the model is asked, and what that rendered in training.
        base: the model it stands on, or None.
        settings: of the kind.
    """

    format: int = FORMAT
    kind: str
    labels: tuple[str, ...] = ()
    template: dict[str, Any] | None = None
    template_fingerprint: str | None = None
    base: BaseModelRef | None = None
    settings: dict[str, Any] = {}

    @property
    def dtype(self) -> Dtype:
        """Of the base model's weights."""
        return self.base.dtype if self.base else "auto"

    @property
    def base_bits(self) -> Bits:
        """Of the base model's linear layers."""
        return self.base.bits if self.base else 16

    def needed(self, checkpoint: Checkpoint | None) -> Checkpoint:
        """The base's checkpoint, or a ModelError if the manifest names none."""
        if checkpoint is None:
            raise ModelError(f"a {self.kind} stands on a base model, and none is named", where=MANIFEST)
        return checkpoint

    def positive(self, *names: str) -> dict[str, float]:
        """The settings, which must be exactly these and positive numbers, or a ModelError."""
        if set(self.settings) != set(names) or not all(_is_positive(value) for value in self.settings.values()):
            raise ModelError(f"the settings of a {self.kind} are damaged", where=MANIFEST, why=str(self.settings)[:200])
        return dict(self.settings)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def reference(loaded: Loaded) -> BaseModelRef:
    """By which the base is found again; a folder by its full path."""
    checkpoint = loaded.checkpoint
    name = str(checkpoint.path) if Path(checkpoint.name).exists() else checkpoint.name
    return BaseModelRef(name=name, fingerprint=checkpoint.fingerprint, dtype=cast(Dtype, loaded.dtype),
                        bits=bits_of(loaded.model), licence=checkpoint.licence)


class Predictor(abc.ABC):
    """Anything that maps rows to predictions and can be shipped.

    Attributes:
        kind: by which `load_predictor` finds the class again.
        labels: what it chooses from; empty where it writes freely.
    """

    kind: ClassVar[str]
    labels: tuple[str, ...] = ()

    @abc.abstractmethod
    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        """One prediction a row, in the rows' order; targets in the rows are not looked at."""

    @abc.abstractmethod
    def write(self, folder: Path) -> Manifest:
        """Put the weights into an empty ``folder``; the manifest is written by `save`."""

    @classmethod
    @abc.abstractmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Predictor:
        """What `write` put there; ``checkpoint`` is the base that the manifest names, or None."""

    def save(self, folder: Path) -> None:
        """Write everything beside ``folder`` and then put it in its place.

        Raises:
            WorkspaceError: if it cannot be written.
        """
        with atomic_folder(Path(folder)) as beside:
            manifest = self.write(beside)
            atomic_write(beside / MANIFEST, manifest.model_dump_json(indent=1))

    @property
    def loaded(self) -> Loaded | None:
        """The model in memory that it asks; None of what asks none."""
        return getattr(self, "_loaded", None)

    @property
    def ship_bytes(self) -> int:
        """Bytes of what `save` writes: what must be shipped beside the base model."""
        with tempfile.TemporaryDirectory(prefix="scrimp-") as parent:
            self.save(Path(parent) / "model")
            return folder_bytes(Path(parent) / "model")


def texts_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of rows with labels or scores.

    Raises:
        DataError: if a row has none.
    """
    if missing := [i for i, row in enumerate(rows) if not isinstance(row.get("text"), str)]:
        raise DataError("the row has no text to read", where=f"row {missing[0] + 1}",
                        fix="give rows with the field 'text'")
    return [row["text"] for row in rows]


def wanted_text(row: Mapping[str, Any]) -> str:
    """The free answer that a row wants: its completion, or its last message.

    Raises:
        KeyError: if the row has none.
    """
    return row["messages"][-1]["content"] or "" if "messages" in row else row["completion"]


def as_scores(log_odds: np.ndarray, labels: Sequence[str]) -> list[Prediction]:
    """Predictions from unnormalised log-probabilities [N, C]."""
    shares = np.exp(log_odds - log_odds.max(axis=1, keepdims=True)) if len(log_odds) else log_odds
    shares = shares / shares.sum(axis=1, keepdims=True)
    return [{"label": labels[int(row.argmax())], "scores": dict(zip(labels, map(float, row), strict=True))}
            for row in shares]


def as_sets(shares: np.ndarray, labels: Sequence[str], threshold: float) -> list[Prediction]:
    """Predictions of several labels from the probability of each, [N, C]: those that reach the threshold are said."""
    return [{"labels": [label for label, share in zip(labels, row, strict=True) if share >= threshold],
             "scores": dict(zip(labels, row, strict=True))} for row in shares.astype(np.float64).tolist()]


def read_manifest(folder: Path, kinds: Sequence[str]) -> Manifest:
    """The checked manifest of a saved predictor.

    Raises:
        ModelError: if it is missing, damaged, of a newer format or of an unknown kind.
    """
    path = Path(folder) / MANIFEST
    raw = read_object(path)
    if not isinstance(raw.get("format"), int):
        raise ModelError("this is no predictor saved by scrimp", where=str(path), why="it states no format")
    if raw["format"] > FORMAT:
        raise ModelError(f"this predictor has format {raw['format']}, this scrimp reads up to {FORMAT}",
                         where=str(path), fix="use a newer scrimp")
    if raw.get("kind") not in kinds:
        raise ModelError(f"there is no kind of predictor '{raw.get('kind')}'; {nearest(str(raw.get('kind')), kinds)}",
                         where=str(path))
    try:
        manifest = Manifest.parse(raw, where=str(path))
    except OptionError as error:
        raise ModelError("the predictor's description is damaged", where=str(path), why=error.what) from None
    if len(set(manifest.labels)) != len(manifest.labels):
        raise ModelError("a label occurs twice", where=str(path))
    return manifest


def write_tensors(folder: Path, **tensors: np.ndarray) -> None:
    """Arrays as float32 in `weights.safetensors`."""
    save_file({name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()},
              folder / "weights.safetensors")


def read_tensors(folder: Path, **shapes: tuple[int | None, ...]) -> dict[str, np.ndarray]:
    """The arrays of `weights.safetensors`, float32, each of the shape given (None: any length).

    Raises:
        ModelError: if the file is missing or damaged, or an array is missing, left over, misshapen or not finite.
    """
    path = folder / "weights.safetensors"
    try:
        found = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError("the weights cannot be read", where=str(path), why=str(error)) from None
    if odd := sorted(set(found) ^ set(shapes)):
        raise ModelError(f"the tensor '{odd[0]}' is missing or has no place here", where=str(path))
    for name, shape in shapes.items():
        got = found[name]
        if got.dtype != np.float32 or len(got.shape) != len(shape) or any(
                want not in (None, size) for size, want in zip(got.shape, shape, strict=True)):
            wanted = [size if size is not None else "any" for size in shape]
            raise ModelError(f"'{name}' is {got.dtype} {list(got.shape)}, not float32 {wanted}", where=str(path))
        if not np.isfinite(got).all():
            raise ModelError(f"'{name}' holds NaN or infinite numbers", where=str(path))
    return found
