"""What every head must do, third parties' included."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from scrimp.core.errors import DataError
from scrimp.core.registry import Preset, presets

pytestmark = pytest.mark.parametrize("preset", presets("head"), ids=lambda p: p.name)


def blobs(rows: int = 90, classes: int = 3, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return (2 * np.eye(classes, width)[labels] + 0.4 * rng.normal(size=(rows, width))).astype(np.float32), labels


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_it_tells_plain_classes_apart_with_probabilities(preset: Preset, normalise: bool, dtype: type) -> None:
    features, labels = blobs()
    fitted = preset.build({"normalise": normalise}).fit(features.astype(dtype), labels, classes=3)
    test, truth = blobs(seed=1)
    found = fitted.log_probabilities(test.astype(dtype))
    assert found.dtype == np.float64
    assert np.allclose(np.exp(found).sum(axis=1), 1)
    assert (fitted.predict(test) == truth).mean() > 0.95
    if normalise:
        assert np.allclose(fitted.log_probabilities(7 * test), fitted.log_probabilities(test), atol=1e-5)


def test_one_row_a_class_is_enough(preset: Preset) -> None:
    features, labels = blobs(rows=3)
    fitted = preset.build().fit(features, labels, classes=3)
    assert (fitted.predict(features) == labels).all()


def test_a_class_without_rows_is_never_the_answer(preset: Preset) -> None:
    features, labels = blobs()
    fitted = preset.build().fit(features[labels > 0], labels[labels > 0], classes=3)
    found = fitted.log_probabilities(features)
    assert not np.isnan(found).any()
    assert (fitted.predict(features)[labels > 0] == labels[labels > 0]).all()
    assert (fitted.predict(features) > 0).all()


def test_the_same_seed_gives_the_same_bits_and_chance_is_left_alone(preset: Preset) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, again = (preset.build().fit(*blobs(), classes=3, seed=5).arrays() for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_what_it_learned_is_saved_and_read_to_the_bit(preset: Preset, tmp_path: Path) -> None:
    features, labels = blobs()
    fitted = preset.build({"normalise": True}).fit(features, labels, classes=3)
    save_file({name: np.ascontiguousarray(array) for name, array in fitted.arrays().items()}, tmp_path / "head")
    again = type(fitted).of(load_file(tmp_path / "head"), normalised=True)
    assert np.array_equal(again.log_probabilities(features), fitted.log_probabilities(features))


@pytest.mark.parametrize(("classes", "width"), [(3, 6), (4, 9)])
def test_its_cost_is_what_it_says(preset: Preset, classes: int, width: int) -> None:
    fitted = preset.build().fit(*blobs(classes=classes, width=width), classes=classes)
    assert sum(array.size for array in fitted.arrays().values()) == preset.build().cost(width, classes).parameters


@pytest.mark.parametrize(("features", "labels", "said"), [
    (np.full((2, 3), np.nan), [0, 1], "NaN or infinity"), (np.zeros(3), [0, 1], "finite numbers"),
    (np.zeros((2, 3)), [0], "1 labels"), (np.zeros((0, 3)), [], "0 rows"), (np.zeros((2, 3)), [0, 2], "from 0 to 2"),
    (np.zeros((2, 3)), [-1, 0], "from -1 to 0"),
])
def test_what_cannot_be_learned_is_refused(preset: Preset, features: np.ndarray, labels: list[int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        preset.build().fit(features, np.array(labels, dtype=np.int64), classes=2)
