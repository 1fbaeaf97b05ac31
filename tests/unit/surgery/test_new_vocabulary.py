"""Similarity-weighted embeddings against their formula; static vectors that know which words go together."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from scrimp.core.errors import DataError, ModelError
from scrimp.core.registry import build
from scrimp.surgery.vocabulary.static import aligned, token_vectors, word_vectors

KINDS = {"food": "bread soup apple rice cheese",
         "sea": "wave boat salt tide harbour",
         "sky": "cloud star moon wind rain"}


def texts(count: int = 400, seed: int = 0) -> list[list[str]]:
    """Sentences of one kind of word each, between words that go with all."""
    chance = random.Random(seed)
    return [[word for _ in range(6) for word in (chance.choice(words.split()), chance.choice(["the", "a", "of"]))]
            for _ in range(count) for words in [chance.choice(list(KINDS.values()))]]


def test_wechsel_is_the_softmax_weighted_mean_of_the_nearest() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    vectors = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 2.0]), "c": torch.tensor([-3.0, 0.0])}
    at = {"x": torch.tensor([3.0, 4.0])}
    found = build("vocabulary", "wechsel", {"neighbours": 2, "temperature": 0.5}).apply(
        embeddings, {"a": 0, "b": 1, "c": 2, "d": 3}, {"x": 0}, vectors=(vectors, at))
    p, q = math.exp(0.6 / 0.5), math.exp(0.8 / 0.5)
    assert found.tolist()[0] == pytest.approx([p / (p + q), q / (p + q)])


def test_a_token_without_a_vector_is_drawn_as_the_old_ones_are_spread() -> None:
    embeddings = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 2, 3, 0.0]) + 7
    source, target = {f"s{i}": i for i in range(500)}, {f"t{i}": i for i in range(2000)}
    vectors = ({"s0": torch.ones(2)}, {"t0": torch.ones(2), "t1": torch.zeros(2)})
    found = build("vocabulary", "wechsel").apply(embeddings, source, target, vectors=vectors)
    torch.testing.assert_close(found[0], embeddings[0])
    torch.testing.assert_close(found[1:].mean(0), embeddings.mean(0), atol=0.2, rtol=0)
    torch.testing.assert_close(found[1:].std(0), embeddings.std(0), atol=0.2, rtol=0)


def test_many_tokens_are_filled_as_each_alone() -> None:
    chance = torch.Generator().manual_seed(0)
    source, target = {f"s{i}": i for i in range(50)}, {f"t{i}": i for i in range(2500)}
    vectors = tuple({token: torch.randn(8, generator=chance) for token in side} for side in (source, target))
    embeddings, method = torch.randn(50, 4, generator=chance), build("vocabulary", "wechsel")
    found = method.apply(embeddings, source, target, vectors=vectors)
    for place in (0, 1023, 1024, 2499):
        alone = method.apply(embeddings, source, {"t": 0}, vectors=(vectors[0], {"t": vectors[1][f"t{place}"]}))
        torch.testing.assert_close(found[place], alone[0])


def test_vectors_of_two_spaces_or_of_no_token_are_refused() -> None:
    embeddings, ids = torch.zeros(2, 2), {"a": 0}
    method = build("vocabulary", "wechsel")
    with pytest.raises(ModelError, match="two spaces"):
        method.apply(embeddings, ids, ids, vectors=({"a": torch.ones(2)}, {"a": torch.ones(3)}))
    with pytest.raises(ModelError, match="no token of the target"):
        method.apply(embeddings, ids, ids, vectors=({"a": torch.ones(2)}, {"b": torch.ones(2)}))


def test_words_that_stand_together_have_near_vectors() -> None:
    found = word_vectors(texts(), size=6)
    assert set(found) == {*" ".join(KINDS.values()).split(), "the", "a", "of"}
    unit = {word: vector / vector.norm() for word, vector in found.items()}
    within = [float(unit[a] @ unit[b]) for words in KINDS.values() for a in words.split() for b in words.split()]
    across = [float(unit[a] @ unit[b]) for a in KINDS["food"].split() for b in KINDS["sea"].split()]
    assert min(within) > max(across)
    again = word_vectors(texts(), size=6)
    assert all(torch.equal(found[word], again[word]) for word in found)


def test_too_little_text_is_told() -> None:
    with pytest.raises(DataError, match="0 words"):
        word_vectors([["once"]], size=3)


def test_a_rotated_language_is_turned_back_by_a_few_pairs() -> None:
    chance = torch.Generator().manual_seed(0)
    english = {f"w{i}": torch.randn(5, generator=chance) for i in range(40)}
    turn = torch.linalg.qr(torch.randn(5, 5, generator=chance)).Q
    foreign = {f"x{i}": 3 * english[f"w{i}"] @ turn for i in range(40)}
    back = aligned(foreign, english, {f"x{i}": f"w{i}" for i in range(8)})
    for i in range(40):
        torch.testing.assert_close(back[f"x{i}"], english[f"w{i}"] / english[f"w{i}"].norm(), atol=1e-5, rtol=0)
    with pytest.raises(DataError, match="no pair"):
        aligned(foreign, english, {"x1": "nothing"})
    with pytest.raises(DataError, match="cannot be turned"):
        aligned(foreign, {"w1": torch.zeros(2)}, {"x1": "w1"})


def test_a_token_is_the_weighted_mean_of_its_words() -> None:
    words = {"un": torch.tensor([1.0, 0.0]), "undo": torch.tensor([0.0, 1.0])}
    found = token_vectors(words, {"un": 1, "undo": 3}, lambda word: ["un", *([word[2:]] if word[2:] else [])])
    np.testing.assert_allclose(found["un"], [0.25, 0.75])
    np.testing.assert_allclose(found["do"], [0, 1])
