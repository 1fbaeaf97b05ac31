"""Small images: real ones by name, and the training of a small model on them.

Images are float32 [N, channels, height, width] in [0, 1], labels int64 [N].
"""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.core.assets import obtain
from scrimp.core.errors import DataError, ModelError
from scrimp.core.options import Options

__all__ = ["Fitting", "accuracy", "digits", "fit_classifier", "logits_of", "mnist5k"]

_ROWS = 512  # of one forward pass that is not trained


def mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """5,000 handwritten digits: images float32 [5000, 1, 28, 28] in [0, 1], labels int64 [5000], 500 of each class.

    A part of MNIST: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition".

    Raises:
        AssetError: if the data set cannot be obtained.
        DataError: if its file is damaged.
    """
    path = obtain("mnist-5k") / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        images, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError("is no table of images", where=str(path), why=str(error)[:200]) from None
    return images.astype(np.float32) / 255, labels.astype(np.int64)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits that come with scikit-learn: images float32 [1797, 1, 8, 8] in [0, 1], labels int64.

    Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits".
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images[:, None] / 16).astype(np.float32), found.target.astype(np.int64)


class Fitting(Options):
    """How a small classifier is trained: AdamW, the rate warmed up for a tenth of the steps and then cosine to zero.

    Attributes:
        steps: updates.
        batch_size: images of an update, drawn in epochs without repetition.
        learning_rate: at its highest.
        weight_decay: of AdamW.
        label_smoothing: share of each target that is spread over all classes.
        shift: pixels by which each image is moved at most, in each direction, anew each time it is seen.
    """

    steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    shift: int = Field(default=0, ge=0)


def fit_classifier(model: nn.Module, images: np.ndarray, targets: np.ndarray, fitting: Fitting | None = None, *,
                   seed: int = 0) -> nn.Module:
    """``model`` trained in place; all that is random comes from ``seed``, and the process's random state is kept.

    Args:
        model: images [B, ...] to logits [B, C].
        images: float32 [N, ...].
        targets: int64 classes [N], or float32 shares of each class [N, C].
        fitting: how.
        seed: of the order, the shifts and dropout.

    Raises:
        ModelError: if the loss is no number.
    """
    how, rng = fitting or Fitting(), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, how.steps))
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for rows in _batches(len(images), how, rng):
            picked = torch.from_numpy(_shifted(images[rows], how.shift, rng))
            loss = F.cross_entropy(model(picked), torch.from_numpy(targets[rows]),
                                   label_smoothing=how.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    if not bool(loss.isfinite()):
        raise ModelError("the loss is not finite", why="the learning rate is too high for this model",
                         fix="lower learning_rate")
    return model.eval()


def logits_of(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Float32 [N, C] of a model in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        parts = [model(torch.from_numpy(images[at:at + _ROWS])) for at in range(0, len(images), _ROWS)]
    return torch.cat(parts).float().numpy()


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose class is the model's first choice."""
    return float((logits_of(model, images).argmax(axis=1) == labels).mean())


def _factor(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm)))


def _batches(count: int, how: Fitting, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each update: permutations one after the other, cut into batches."""
    size = min(how.batch_size, count)
    epochs = -(-how.steps * size // count)
    order = np.concatenate([rng.permutation(count) for _ in range(epochs)])
    return [order[at:at + size] for at in range(0, how.steps * size, size)]


def _shifted(images: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to ``most`` pixels, what comes in is black."""
    if not most:
        return images
    high, wide = images.shape[-2:]
    around = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(most, most)] * 2)
    moves = rng.integers(0, 2 * most + 1, size=(len(images), 2))
    return np.stack([image[..., y:y + high, x:x + wide] for image, (y, x) in zip(around, moves, strict=True)])
