"""What a selection did to its pool: what was kept of each group, what repeats, how near the rest is to a kept row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scrimp.core.memory import check_room
from scrimp.core.progress import track
from scrimp.data.surveyed import Coverage, Group, Lengths, Repeats
from scrimp.examples import leakage
from scrimp.examples.records import Examples, Layout, input_text

__all__ = ["Map", "Nearest", "Survey", "survey"]

_ORIGINS = ("source", "dataset", "subset", "domain", "origin")  # fields that tell where a row of a mixture is from
_NEAR = 0.8  # least similarity of near duplicates
_NEAR_ROWS = 20_000  # rows that are looked through for them: ten seconds on one core
_LOOKED_AT = 5_000  # rows whose nearest kept row is looked for
_LOOKED_THROUGH = 10_000  # rows that it is looked for among
_DRAWS = 5  # choices by chance that a selection is compared with
_WIDTH = 64  # of vectors made of word counts
_WORDS = 20_000

Points = Callable[[np.ndarray], np.ndarray]  # rows of the pool -> float32 [rows, D], each of length one


@dataclass(frozen=True)
class Nearest:
    """Distances from rows of the pool to the nearest kept row [M], and to that of choices by chance [draws, M]."""

    kept: np.ndarray
    chance: np.ndarray


@dataclass(frozen=True)
class Map:
    """Rows of the pool [M], their places on the two main axes [M, 2], and the shares of variance that these hold."""

    rows: np.ndarray
    places: np.ndarray
    shares: tuple[float, float]


@dataclass(frozen=True)
class Survey:
    """What `survey` finds.

    Attributes:
        grouped_by: what makes the groups: ``label``, ``source``, or a field's name in quotes.
        alike: the largest groups of rows of the pool that ask the same, as places in the pool.
        coverage, nearest, map: None where the rows hold nothing to compare them by.
        lengths: characters of each row, int64 [N].
        median_lengths: of kept and of dropped rows.
    """

    grouped_by: str
    groups: tuple[Group, ...]
    in_pool: Repeats
    in_kept: Repeats
    alike: list[list[int]]
    coverage: Coverage | None
    nearest: Nearest | None
    map: Map | None
    lengths: np.ndarray
    median_lengths: Lengths


def survey(pool: Examples, kept: np.ndarray, *, vectors: np.ndarray | None = None, seed: int = 0) -> Survey:
    """Look at what was kept of ``pool``.

    Args:
        pool: all rows.
        kept: those that were kept, as places in the pool.
        vectors: embeddings of all rows, float32 [N, D], where they are known; without them words are counted.
        seed: of every choice by chance.

    Raises:
        BudgetError: see `scrimp.core.memory.check_room`.
    """
    check_room()
    rng = np.random.default_rng(seed)
    by, names = _groups(pool)
    looked_at = _some(len(pool), _LOOKED_AT, rng)
    points = _counted(pool, looked_at) if vectors is None else _embedded(vectors)
    told = "word counts" if vectors is None else "sentence embeddings"
    nearest = _nearest(points, len(pool), looked_at, kept, rng) if points else None
    lengths = np.array([_length(row) for row in pool.rows], dtype=np.int64)
    of_pool, of_kept = Counter(names), Counter(names[i] for i in kept.tolist())
    return Survey(
        grouped_by=by, groups=tuple(Group(name=name, pool=n, kept=of_kept[name]) for name, n in of_pool.most_common()),
        in_pool=_repeats(pool, rng), in_kept=_repeats(pool.subset(kept.tolist()), rng),
        alike=sorted(leakage.duplicates(pool), key=len, reverse=True), nearest=nearest,
        coverage=_coverage(nearest, told, min(len(kept), _LOOKED_THROUGH)) if nearest else None,
        map=_map(points, np.union1d(looked_at, kept[:_LOOKED_AT])) if points else None,
        lengths=lengths,
        median_lengths=Lengths(kept=_median(lengths[kept]), dropped=_median(np.delete(lengths, kept))))


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


def _groups(pool: Examples) -> tuple[str, Sequence[str]]:
    """What groups the rows, and the group of each."""
    if pool.layout is Layout.LABEL:
        return "label", [row.get("label", "no label") for row in pool.rows]
    for name in _ORIGINS:
        values = [row.get(name) for row in pool.found]
        if values and all(isinstance(value, str) for value in values) and 1 < len(set(values)) <= len(values) / 2:
            return f"'{name}'", [str(value) for value in values]
    return "source", [_origin(source) for source in pool.sources]


def _origin(source: str) -> str:
    """The file of ``pool.jsonl:3``, the folder of ``docs/a.txt``."""
    above, colon, _ = source.rpartition(":")
    return above if colon else source.rpartition("/")[0] or source


def _length(row: object) -> int:
    """Characters of all texts within."""
    if isinstance(row, dict):
        return sum(map(_length, row.values()))
    if isinstance(row, list | tuple):
        return sum(map(_length, row))
    return len(row) if isinstance(row, str) else 0


def _some(rows: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All of so many rows, or ``most`` of them by chance, in order."""
    return np.arange(rows) if rows <= most else np.sort(rng.choice(rows, most, replace=False))


def _repeats(rows: Examples, rng: np.random.Generator) -> Repeats:
    looked_at = rows.subset(_some(len(rows), _NEAR_ROWS, rng))
    exact, of_these, near = (sum(len(group) - 1 for group in groups) for groups in (
        leakage.duplicates(rows), leakage.duplicates(looked_at), leakage.duplicates(looked_at, threshold=_NEAR)))
    return Repeats(rows=len(rows), exact=exact, near=near - of_these, near_rows=len(looked_at))


def _embedded(vectors: np.ndarray) -> Points:
    return lambda rows: _unit(vectors[rows])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _counted(pool: Examples, rows: np.ndarray) -> Points | None:
    """Rows by their words, weighed and brought to few dimensions by what ``rows`` hold; None without two words."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]", max_features=_WORDS)
    try:
        counts = words.fit_transform(input_text(pool[i]) for i in rows.tolist())
    except ValueError:  # an empty vocabulary
        return None
    if counts.shape[1] < 2:
        return None
    with np.errstate(invalid="ignore"):  # rows that are all alike have no variance to be shared out
        few = TruncatedSVD(min(_WIDTH, counts.shape[1]), random_state=0).fit(counts)
    return lambda rows: _unit(few.transform(words.transform(input_text(pool[i]) for i in rows.tolist())))


def _nearest(points: Points, rows: int, looked_at: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> Nearest:
    from sklearn.metrics import pairwise_distances_argmin_min

    count = min(len(kept), _LOOKED_THROUGH)
    choices = [rng.permutation(kept)[:count], *(rng.permutation(rows)[:count] for _ in range(_DRAWS))]
    these = points(looked_at)
    apart = [pairwise_distances_argmin_min(these, points(choice))[1]
             for choice in track(choices, "measuring what the kept rows cover")]
    return Nearest(apart[0], np.array(apart[1:]))


def _coverage(found: Nearest, by: str, through: int) -> Coverage:
    radius = float(np.median(found.chance))
    chance = (found.chance <= radius).mean(axis=1)
    return Coverage(by=by, radius=radius, kept=float((found.kept <= radius).mean()), chance_low=float(chance.min()),
                    chance_high=float(chance.max()), rows=len(found.kept), through=through)


def _map(points: Points, rows: np.ndarray) -> Map:
    """Principal components of those rows; each axis points to where its largest part is positive."""
    vectors = points(rows).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    main = axes[:, ::-1][:, :2]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    places = np.zeros((len(rows), 2))
    places[:, :main.shape[1]] = centred @ main
    whole = max(float(variances.sum()), 1e-12)
    held = [max(0.0, float(one)) / whole for one in (*variances[::-1][:2], 0.0)]
    return Map(rows, places, (held[0], held[1]))
