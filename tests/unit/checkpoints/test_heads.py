"""Pooling and the classifier on top."""

import json

import pytest
import torch
from breaking import edit_json
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.heads import HEAD_CONFIG, HEAD_WEIGHTS, PooledClassifier, load_head, pool, save_head
from scrimp.core.errors import ModelError

POOLINGS = ("mean", "cls", "last")


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), extra=st.integers(0, 3), left=st.booleans(),
       pooling=st.sampled_from(POOLINGS), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_pooling_sees_no_padding(lengths, extra, left, pooling, seed):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths) + extra
    hidden, mask = torch.full((len(lengths), width, 4), float("nan")), torch.zeros(len(lengths), width)
    alone = []
    for row, length in enumerate(lengths):
        states = torch.randn(length, 4, generator=generator)
        place = slice(width - length, width) if left else slice(0, length)
        hidden[row, place], mask[row, place] = states, 1
        alone.append({"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling])
    torch.testing.assert_close(pool(hidden, mask, pooling), torch.stack(alone))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_gets_the_same_logits_alone_and_in_a_batch(encoder, pooling):
    model = PooledClassifier(encoder.model, ("a", "b", "c"), pooling=pooling).eval()
    short, long = [5, 6, 7], [8, 9, 10, 11, 12, 13]
    ids = torch.tensor([[*short, 0, 0, 0], long])
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6])
    with torch.inference_mode():
        together = model(ids, mask)
        alone = torch.cat([model(torch.tensor([row]), torch.ones(1, len(row))) for row in (short, long)])
    assert together.shape == (2, 3) and together.dtype == torch.float32
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_saved_and_loaded_it_is_the_same_to_the_bit(encoder, pooling, tmp_path):
    model = PooledClassifier(encoder.model, ("né", "😀", "b"), pooling=pooling, seed=3).eval()
    save_head(model, tmp_path)
    again = load_head(tmp_path, encoder.model)
    ids, mask = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4)
    with torch.inference_mode():
        assert torch.equal(model(ids, mask), again(ids, mask))
    assert (again.labels, again.pooling, again.training) == (model.labels, pooling, False)


def test_the_first_weights_depend_on_the_seed_alone(encoder):
    torch.manual_seed(1)
    first = PooledClassifier(encoder.model, ("a", "b"), seed=5).head.weight
    torch.manual_seed(2)
    assert torch.equal(first, PooledClassifier(encoder.model, ("a", "b"), seed=5).head.weight)
    assert not torch.equal(first, PooledClassifier(encoder.model, ("a", "b"), seed=6).head.weight)


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "a")])
def test_labels_that_make_no_classifier(encoder, labels):
    with pytest.raises(ModelError, match="two or more distinct labels"):
        PooledClassifier(encoder.model, labels)


@pytest.mark.parametrize("changes", [
    {"format": 2}, {"format": None}, {"labels": None}, {"labels": "ab"}, {"labels": [1, 2]}, {"labels": ["a"]},
    {"labels": ["a", "a"]}, {"labels": ["a", "b", "c"]}, {"pooling": "max"}, {"pooling": ["mean"]}, {"pooling": None}])
def test_a_head_file_that_says_something_else(encoder, tmp_path, changes):
    save_head(PooledClassifier(encoder.model, ("a", "b")), tmp_path)
    edit_json(tmp_path / HEAD_CONFIG, **changes)
    with pytest.raises(ModelError):
        load_head(tmp_path, encoder.model)


@pytest.mark.parametrize("damage", [
    lambda f: (f / HEAD_CONFIG).unlink(), lambda f: (f / HEAD_WEIGHTS).unlink(),
    lambda f: (f / HEAD_CONFIG).write_text("[]"), lambda f: (f / HEAD_CONFIG).write_text('{"labels": ['),
    lambda f: (f / HEAD_WEIGHTS).write_bytes((f / HEAD_WEIGHTS).read_bytes()[:-3]),
    lambda f: (f / HEAD_WEIGHTS).write_bytes(b"")])
def test_a_head_file_that_is_damaged(encoder, tmp_path, damage):
    save_head(PooledClassifier(encoder.model, ("a", "b")), tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError):
        load_head(tmp_path, encoder.model)


@pytest.mark.parametrize("labels", [["a", "a", "b"], ["a"], []])
def test_labels_that_are_not_distinct_are_told_with_the_file(encoder, tmp_path, labels):
    save_head(PooledClassifier(encoder.model, ("a", "b")), tmp_path)
    (tmp_path / HEAD_CONFIG).write_text(json.dumps({"format": 1, "pooling": "mean", "labels": labels}))
    with pytest.raises(ModelError, match="distinct") as caught:
        load_head(tmp_path, encoder.model)
    assert caught.value.where == str(tmp_path / HEAD_CONFIG)


def test_a_head_with_numbers_that_are_none(encoder, tmp_path):
    model = PooledClassifier(encoder.model, ("a", "b"))
    model.head.bias.data[0] = float("nan")
    save_head(model, tmp_path)
    with pytest.raises(ModelError, match="NaN"):
        load_head(tmp_path, encoder.model)


def test_the_files_are_plain(encoder, tmp_path):
    from safetensors.torch import load_file

    save_head(PooledClassifier(encoder.model, ("a", "b")), tmp_path)
    assert json.loads((tmp_path / HEAD_CONFIG).read_text()) == {"format": 1, "pooling": "mean", "labels": ["a", "b"]}
    shapes = {name: tuple(value.shape) for name, value in load_file(tmp_path / HEAD_WEIGHTS).items()}
    assert shapes == {"weight": (2, 64), "bias": (2,)}
