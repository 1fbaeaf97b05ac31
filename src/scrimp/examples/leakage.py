"""Rows of the test that stand in the training set too, and rows that repeat: exactly, or nearly.

Texts are compared by what they ask (`records.input_text`), after NFKC, case folding and squeezing whitespace.
Candidates for near duplicates come from MinHash over runs of five characters (Broder 1997, "On the resemblance and
containment of documents") and locality-sensitive hashing; each is then verified by its true Jaccard similarity. Runs
that stand in many texts, such as those of a question's fixed wording, tell no text from another and are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from datasketch import MinHash, MinHashLSH

from scrimp.core.errors import OptionError
from scrimp.core.progress import track
from scrimp.examples.records import Examples, Layout, input_text, natural, normal, told_labels

__all__ = ["Conflict", "Leakage", "conflicts", "duplicates", "find"]

_RUN = 5  # characters of a shingle
_PERMUTATIONS = 64
_BANDS = (16, 4)  # finds a pair of similarity 0.8 with probability 0.9998, one of 0.6 with 0.89
_LOWEST = 0.6
_SLACK = 0.2  # an estimate from 64 permutations is off by more than this once in a thousand times
_SAMPLE = 2000  # texts that common runs are told from
_COMMON = 0.05  # a run that more than this share of them hold is common, ...
_COMMON_AT_LEAST = 10  # ... if it is more than so many
_BLOCK = 1 << 14  # shingles hashed at once, so that a text of 10 MB needs no gigabytes
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Leakage:
    """What train and test share.

    Attributes:
        exact: pairs (training row, test row) that ask the same; every row concerned stands in one pair at least.
        near: pairs with their Jaccard similarity; for each row concerned the most similar one of the other side.
    """

    exact: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int, float], ...]

    @property
    def train_rows(self) -> list[int]:
        """Training rows that the test holds too, exactly or nearly."""
        return sorted({i for i, _ in self.exact} | {i for i, _, _ in self.near})

    @property
    def test_rows(self) -> list[int]:
        """Test rows that the training set holds too, exactly or nearly."""
        return sorted({j for _, j in self.exact} | {j for _, j, _ in self.near})


@dataclass(frozen=True)
class Conflict:
    """Rows that ask the same under different labels, or with different scores; several labels are told as one text."""

    rows: tuple[int, ...]
    labels: tuple[str, ...]


def find(train: Examples, test: Examples, *, threshold: float | None = 0.8) -> Leakage:
    """What ``test`` shares with ``train``.

    Args:
        train, test: the rows.
        threshold: least Jaccard similarity of near duplicates, from 0.6 to 1; None looks for exact ones only.

    Raises:
        OptionError: if the threshold is out of range.
    """
    ours, theirs = _by_text(train), _by_text(test)
    exact = [pair for text in ours if text in theirs for pair in _pairs(ours[text], theirs[text])]
    if threshold is None:
        return Leakage(tuple(sorted(exact)), ())
    _check(threshold)
    common = _common(ours.keys() | theirs.keys())
    left, right = _Sketched(list(ours), common), _Sketched(list(theirs), common)
    best = {(text, matches[0][0]): matches[0][1] for text, matches in left.like(right, threshold)}
    best |= {(matches[0][0], text): matches[0][1] for text, matches in right.like(left, threshold)}
    near = [(i, j, similarity) for (a, b), similarity in best.items() for i, j in _pairs(ours[a], theirs[b])]
    return Leakage(tuple(sorted(exact)), tuple(sorted(near)))


def duplicates(examples: Examples, *, threshold: float | None = None) -> list[list[int]]:
    """Groups of rows that ask the same, the earliest first.

    Args:
        examples: the rows.
        threshold: joins near duplicates of at least that Jaccard similarity (0.6 to 1) too; None joins exact ones only.

    Raises:
        OptionError: if the threshold is out of range.
    """
    by_text = _by_text(examples)
    group = {text: text for text in by_text}

    def root(text: str) -> str:
        while group[text] != text:
            text = group[text]
        return text

    if threshold is not None:
        _check(threshold)
        every = _Sketched(list(by_text), _common(by_text.keys()))
        for text, matches in every.like(every, threshold):
            for other, _ in matches:
                first, second = sorted((root(text), root(other)), key=lambda one: by_text[one][0])
                group[second] = first
    joined: dict[str, list[int]] = defaultdict(list)
    for text, rows in by_text.items():
        joined[root(text)] += rows
    return sorted(sorted(rows) for rows in joined.values() if len(rows) > 1)


def conflicts(examples: Examples) -> list[Conflict]:
    """Texts that stand with different labels, or scores; none in layouts that have neither."""
    key, found = str(examples.layout), []
    for rows in _by_text(examples).values() if examples.layout.headed else ():
        wanted = [examples[i][key] for i in rows if key in examples[i]]
        labels = {told_labels(one) if examples.layout is Layout.LABELS else one for one in wanted}
        if len(labels) > 1:
            ordered = sorted(labels, key=float if examples.layout is Layout.SCORE else natural)
            found.append(Conflict(tuple(rows), tuple(map(str, ordered))))
    return found


def _by_text(examples: Examples) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(examples.rows):
        found[normal(input_text(row))].append(i)
    return dict(found)


def _pairs(ours: Sequence[int], theirs: Sequence[int]) -> list[tuple[int, int]]:
    """As few pairs as hold every row of both sides."""
    return [(ours[min(n, len(ours) - 1)], theirs[min(n, len(theirs) - 1)]) for n in range(max(len(ours), len(theirs)))]


def _check(threshold: float) -> None:
    if not _LOWEST <= threshold <= 1:
        raise OptionError(f"near duplicates are told from {_LOWEST} to 1, not {threshold}", where="threshold")


class _Sketched:
    """Distinct texts with their MinHash signatures, uint32 [N, permutations].

    Args:
        texts: those that hold nothing but common runs are left out.
        common: hashes of the runs that tell nothing, sorted.
    """

    def __init__(self, texts: Sequence[str], common: np.ndarray) -> None:
        self._common = common
        self.texts: list[str] = []
        signatures = []
        for text in track(texts, "looking for near duplicates"):
            shingles = self._telling(text)
            if len(shingles):
                self.texts.append(text)
                signatures.append(_signature(shingles))
        self.signatures = np.array(signatures, dtype=np.uint32).reshape(-1, _PERMUTATIONS)

    def _telling(self, text: str) -> np.ndarray:
        shingles = _shingles(text)
        return shingles[~np.isin(shingles, self._common, assume_unique=True, kind="sort")]  # numpy 2.0 tables overflow

    def like(self, pool: _Sketched, threshold: float) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Each text with those of the pool that are like it but not it, if there are any, the most similar first."""
        shingles = lru_cache(maxsize=4096)(self._telling)
        index = pool._index
        for text, signature in zip(track(self.texts, "comparing"), self.signatures, strict=True):
            found = np.array(sorted(index.query(_minhash(signature))), dtype=np.int64)
            estimate = (pool.signatures[found] == signature).mean(axis=1)
            likely = [pool.texts[n] for n in found[estimate >= threshold - _SLACK]]
            verified = [(other, _jaccard(shingles(text), shingles(other))) for other in likely if other != text]
            if matches := sorted((p for p in verified if p[1] >= threshold), key=lambda p: (-p[1], p[0])):
                yield text, matches

    @cached_property
    def _index(self) -> MinHashLSH:
        index = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
        with index.insertion_session() as session:
            for n, signature in enumerate(self.signatures):
                session.insert(n, _minhash(signature))
        return index


def _common(texts: Iterable[str]) -> np.ndarray:
    """Hashes of the runs that stand in many of the texts, sorted; told from an even sample of them."""
    ordered = sorted(texts)
    sample = ordered[::-(-len(ordered) // _SAMPLE)] if ordered else []
    hashes, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *map(_shingles, sample)]), return_counts=True)
    return hashes[counts > max(_COMMON_AT_LEAST, _COMMON * len(sample))]


def _shingles(text: str) -> np.ndarray:
    """Hashes of the distinct runs of five characters: sorted uint64; of a shorter text, of the whole."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    width = min(_RUN, len(codes))
    hashes = np.zeros(len(codes) - width + 1, dtype=np.uint64)
    for k in range(width):
        hashes = hashes * _MULTIPLIER + codes[k:len(codes) - width + 1 + k] + np.uint64(1)
    return np.unique(hashes)


def _minhash(signature: np.ndarray | None = None) -> MinHash:
    return MinHash(num_perm=_PERMUTATIONS, hashfunc=int, scheme="affine32", hashvalues=signature,
                   permutations=_permutations())


@lru_cache(maxsize=1)
def _permutations() -> np.ndarray:
    return MinHash(num_perm=_PERMUTATIONS, scheme="affine32").permutations


def _signature(shingles: np.ndarray) -> np.ndarray:
    sketch = _minhash()
    folded = (shingles ^ (shingles >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    for at in range(0, len(folded), _BLOCK):
        sketch.update_batch(folded[at:at + _BLOCK].tolist())
    return sketch.hashvalues


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
