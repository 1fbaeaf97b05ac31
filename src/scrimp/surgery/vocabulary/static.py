"""Static vectors of words and tokens from plain text, and two languages' vectors in one space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from scrimp.core.errors import DataError
from scrimp.surgery.vocabulary.base import Vectors

__all__ = ["aligned", "token_vectors", "word_vectors"]


def word_vectors(texts: Iterable[Sequence[str]], *, size: int = 100, window: int = 5, least: int = 5,
                 most: int = 20_000, seed: int = 0) -> dict[str, torch.Tensor]:
    """Vectors [size] of the words of ``texts`` (lists of words) by what stands around them.

    The positive pointwise mutual information of words within ``window`` of each other, nearer ones counting more,
    reduced to ``size`` numbers by a singular value decomposition. Levy et al. 2015, "Improving Distributional
    Similarity with Lessons Learned from Word Embeddings".

    Args:
        least: how often a word must occur.
        most: how many words, the most frequent first.
        seed: of the decomposition, which is a randomised one.

    Raises:
        DataError: fewer words than ``size``.
    """
    from sklearn.utils.extmath import randomized_svd

    rows = [list(text) for text in texts]
    counts = Counter(word for row in rows for word in row)
    words = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= least]
    places = {word: place for place, word in enumerate(words[:most])}
    if len(places) <= size:
        raise DataError(f"{len(places)} words occur {least} times or more; vectors of {size} numbers need more",
                        fix="give more text, or ask for smaller vectors")
    left, values, _ = randomized_svd(_information(rows, places, window), size, random_state=seed)
    found = torch.from_numpy((left * np.sqrt(values)).astype(np.float32))
    return dict(zip(places, found, strict=True))


def _information(rows: list[list[str]], places: Mapping[str, int], window: int) -> Any:
    """[W, W] sparse: positive pointwise mutual information, contexts smoothed by the power 3/4."""
    from scipy.sparse import coo_matrix, csr_matrix, diags

    known = [np.array([places[word] for word in row if word in places], dtype=np.int64) for row in rows]
    pairs = [(row[:-gap], row[gap:], 1 / gap) for row in known for gap in range(1, window + 1) if len(row) > gap]
    first, second = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    weights = np.concatenate([np.full(len(pair[0]), pair[2]) for pair in pairs])
    shape = (len(places), len(places))
    half = csr_matrix(coo_matrix((weights, (first, second)), shape=shape))
    together = half + half.T
    alone = np.asarray(together.sum(axis=1)).ravel()
    context = alone**0.75
    expected = diags(1 / np.maximum(alone, 1e-12)) @ together @ diags(context.sum() / np.maximum(context, 1e-12))
    expected.data = np.maximum(np.log(expected.data), 0)
    return expected


def token_vectors(words: Vectors, counts: Mapping[str, int],
                  tokenize: Callable[[str], Iterable[str]]) -> dict[str, torch.Tensor]:
    """Vectors of tokens: of each, the mean of the words that it is part of, weighed by how often they occur.

    Args:
        words: vector of each word.
        counts: how often each word occurs; 1 where it is not told.
        tokenize: the tokens of a word as it stands in text, such as ``lambda word: tokenizer.tokenize(" " + word)``.
    """
    sums: dict[str, torch.Tensor] = {}
    shares: Counter[str] = Counter()
    for word, vector in words.items():
        weight = counts.get(word, 1)
        for token in set(tokenize(word)):
            sums[token] = sums.get(token, torch.zeros_like(vector)) + weight * vector
            shares[token] += weight
    return {token: vector / shares[token] for token, vector in sums.items()}


def aligned(vectors: Vectors, onto: Vectors, dictionary: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """``vectors`` of one language turned into the space of another's, ``onto``, so that translations lie together.

    The rotation R (perhaps with a mirror) that minimises ||A R - B|| over the pairs of ``dictionary`` (word -> word of
    ``onto``), all of length 1. Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Raises:
        DataError: no pair of the dictionary has both vectors, or the spaces have different sizes.
    """
    pairs = [(vectors[here], onto[there]) for here, there in dictionary.items() if here in vectors and there in onto]
    if not pairs:
        raise DataError("no pair of the dictionary has a vector in both languages",
                        fix="give a dictionary of words that the texts have")
    here, there = (normalize(torch.stack(side).double(), dim=1) for side in zip(*pairs, strict=True))
    if here.shape[1] != there.shape[1]:
        raise DataError(f"vectors of {here.shape[1]} numbers cannot be turned into ones of {there.shape[1]}")
    left, _, right = torch.linalg.svd(here.T @ there)
    turn = (left @ right).float()
    return {word: normalize(vector.float(), dim=0) @ turn for word, vector in vectors.items()}
