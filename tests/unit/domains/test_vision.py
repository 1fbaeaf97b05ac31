"""Images by name, and the training of a small model."""

import gzip

import numpy as np
import pytest
import torch
from torch import nn

from scrimp.core.errors import DataError, ModelError, OptionError
from scrimp.domains import vision
from scrimp.domains.vision import Fitting, accuracy, digits, fit_classifier, logits_of, mnist5k


def table(rows):
    return "\n".join(",".join(map(str, row)) for row in rows)


@pytest.fixture
def asset(tmp_path, monkeypatch):
    """Plays the asset: the text is what its file holds."""
    monkeypatch.setattr(vision, "obtain", lambda name: tmp_path)
    return lambda text: (tmp_path / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))


def test_the_last_column_is_the_class_and_the_others_are_the_image(asset):
    rows = np.random.default_rng(0).integers(0, 256, (3, 785))
    rows[:, -1] = [7, 0, 9]
    asset(table(rows))
    images, labels = mnist5k()
    assert (images.shape, images.dtype, labels.dtype) == ((3, 1, 28, 28), np.float32, np.int64)
    assert labels.tolist() == [7, 0, 9]
    np.testing.assert_allclose(images[1, 0, 2, 5], rows[1, 2 * 28 + 5] / 255, rtol=1e-6)


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b", "1,2\n3", "300," * 784 + "1"])
def test_a_damaged_file_is_refused(asset, text):
    asset(text)
    with pytest.raises(DataError, match="no table of images"):
        mnist5k()


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10))


def test_it_learns_digits_alike_each_time():
    images, labels = digits()
    fits = [fit_classifier(small(), images[:600], labels[:600], Fitting(steps=150, learning_rate=1e-2, shift=1),
                           seed=seed) for seed in (3, 3, 4)]
    weights = [model[2].weight for model in fits]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert accuracy(fits[0], images[600:], labels[600:]) > 0.75


def test_the_random_state_is_left_as_it_was():
    images, labels = digits()
    model = small()
    before = torch.get_rng_state()
    fit_classifier(model, images[:64], labels[:64], Fitting(steps=3))
    assert torch.equal(before, torch.get_rng_state())


def test_shares_of_classes_are_targets_too():
    images, labels = digits()
    shares = np.eye(10, dtype=np.float32)[labels]
    a, b = (fit_classifier(small(), images[:100], y[:100], Fitting(steps=5)) for y in (labels, shares))
    np.testing.assert_allclose(logits_of(a, images[:9]), logits_of(b, images[:9]), atol=1e-5)


def test_a_loss_that_is_no_number_is_told():
    images, labels = digits()
    with pytest.raises(ModelError, match="not finite"):
        fit_classifier(small(), np.full_like(images[:8], np.nan), labels[:8], Fitting(steps=2))
    with pytest.raises(OptionError, match="did you mean 'steps'"):
        Fitting.parse({"setps": 3})


def test_a_shifted_image_is_the_image_moved():
    image = np.zeros((1, 1, 5, 5), dtype=np.float32)
    image[0, 0, 2, 2] = 1
    seen = {tuple(np.argwhere(vision._shifted(image, 1, np.random.default_rng(i))[0, 0])[0]) for i in range(200)}
    assert seen == {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)}
