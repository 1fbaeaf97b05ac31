"""Splits that depend on what the rows say and not on where they stand.

Each row's place is decided by a hash of its text, so that the same rows in another order are split alike. Rows that ask
the same thing never stand on both sides, and each label has its share on both; of scores, each part of their range. A
row of several labels counts for the rarest of them, so that what is rare has its share before what is common, which has
it by its mere number; after Sechidis et al. 2011, "On the Stratification of Multi-Label Data".
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from scrimp.core.errors import DataError, OptionError
from scrimp.core.workspace import fingerprint
from scrimp.examples.records import Examples, Layout, input_text, natural, normal

__all__ = ["few", "folds", "split"]

_MOST_BINS, _ROWS_A_BIN = 10, 10  # of scores, where there are so many rows


@dataclass(frozen=True)
class _Unit:
    """Rows that stay together: their stratum (see `_strata`), and their place in the order."""

    stratum: str
    place: str
    rows: tuple[int, ...]


def split(examples: Examples, share: float, *, seed: int,
          groups: Sequence[Hashable] | None = None) -> tuple[Examples, Examples]:
    """The rest, and about ``share`` of the rows; both in the order that they stand in.

    Args:
        examples: the rows.
        share: of the second part, between 0 and 1.
        seed: another one gives another split.
        groups: one for each row; rows of a group stay together.

    Raises:
        OptionError: if share or groups are impossible.
        DataError: if one side would be empty.
    """
    if not 0 < share < 1:
        raise OptionError(f"a share lies between 0 and 1, not {share}", where="share")
    units = _units(examples, seed, groups)
    taken: set[int] = set()
    for stratum, wanted in _wanted(units, share).items():
        taken |= _take([unit for unit in units if unit.stratum == stratum], wanted)
    if not taken or len(taken) == len(examples):
        raise DataError(f"{len(examples)} rows in {len(units)} groups cannot be split", where=_where(examples),
                        why=f"a share of {share:g} leaves one side empty", fix="give more rows or another share")
    return (examples.subset(i for i in range(len(examples)) if i not in taken), examples.subset(sorted(taken)))


def folds(examples: Examples, k: int, *, seed: int) -> list[tuple[list[int], list[int]]]:
    """``k`` pairs of (rows to learn from, rows to judge on); every row is judged on once.

    Raises:
        OptionError: if ``k`` is less than two.
        DataError: if there are fewer than ``k`` distinct rows.
    """
    if k < 2:
        raise OptionError(f"there are at least two folds, not {k}", where="k")
    units = _units(examples, seed, None)
    if len(units) < k:
        raise DataError(f"{len(units)} distinct rows cannot be parted into {k} folds", where=_where(examples),
                        fix="give more rows or ask for fewer folds")
    parts: list[list[int]] = [[] for _ in range(k)]
    held = [Counter[str]() for _ in range(k)]
    for unit in sorted(units, key=lambda unit: (natural(unit.stratum), unit.place)):
        emptiest = min(range(k), key=lambda part: (held[part][unit.stratum], len(parts[part]), part))
        parts[emptiest] += unit.rows
        held[emptiest][unit.stratum] += len(unit.rows)
    every = range(len(examples))
    return [(sorted(set(every) - set(part)), sorted(part)) for part in parts]


def few(examples: Examples, per_class: int, *, seed: int) -> Examples:
    """``per_class`` rows of each label, no text twice; a label that has fewer is noted.

    Raises:
        OptionError: if the rows have no labels, or ``per_class`` is less than one.
    """
    if examples.layout is not Layout.LABEL or per_class < 1:
        raise OptionError("a few rows of each class can be taken of labelled rows, at least one", where="per_class")
    by_label: dict[str, list[int]] = defaultdict(list)
    for unit in sorted(_units(examples, seed, None), key=lambda unit: unit.place):
        first = min(unit.rows, key=lambda i: (examples[i]["label"] != unit.stratum, fingerprint(examples[i]), i))
        by_label[unit.stratum].append(first)
    short = [f"{label} ({len(by_label[label])})" for label in examples.labels if len(by_label[label]) < per_class]
    notes = (f"fewer than {per_class} distinct rows: {', '.join(short)}",) if short else ()
    picked = examples.subset(sorted(i for rows in by_label.values() for i in rows[:per_class]))
    return replace(picked, notes=(*examples.notes, *notes))


def _units(examples: Examples, seed: int, groups: Sequence[Hashable] | None) -> list[_Unit]:
    """Rows that ask the same or are of one group, joined; in the order of their places."""
    keys = [fingerprint([seed, normal(input_text(row))]) for row in examples.rows]
    strata, units = _strata(examples), []
    for rows in _joined(keys, groups):
        counts = Counter(strata[i] for i in rows)
        most = max(counts.values())
        stratum = min((one for one, count in counts.items() if count == most), key=natural)
        units.append(_Unit(stratum, min(keys[i] for i in rows), tuple(rows)))
    return sorted(units, key=lambda unit: unit.place)


def _strata(examples: Examples) -> list[str]:
    """Of each row its label, the rarest of several, or in which part of all scores its own is; else an empty text."""
    if examples.layout is Layout.LABELS:
        counts = Counter(label for row in examples.rows for label in row.get("labels", ()))
        return [min(row.get("labels", ()), key=lambda label: (counts[label], natural(label)), default="")
                for row in examples.rows]
    if examples.layout is not Layout.SCORE:
        return [row.get("label", "") for row in examples.rows]
    scores = [row.get("score") for row in examples.rows]
    ranked = sorted(score for score in scores if score is not None)
    bins = max(1, min(_MOST_BINS, len(ranked) // _ROWS_A_BIN))
    return ["" if score is None else str(bisect_left(ranked, score) * bins // len(ranked)) for score in scores]


def _joined(keys: Sequence[str], groups: Sequence[Hashable] | None) -> list[list[int]]:
    if groups is None:
        groups = keys
    elif len(groups) != len(keys):
        raise OptionError(f"{len(groups)} groups for {len(keys)} rows", where="groups")
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for key, group in zip(keys, groups, strict=True):
        parent[root(("key", key))] = root(("group", group))
    found: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        found[root(("key", key))].append(i)
    return list(found.values())


def _wanted(units: Sequence[_Unit], share: float) -> Mapping[str, int]:
    """Rows to take of each stratum: their sum is the share of all, and the largest remainders are rounded up.

    A stratum of a single unit has nothing to give, for it must be learned from.
    """
    sizes, count = Counter[str](), Counter(unit.stratum for unit in units)
    for unit in units:
        sizes[unit.stratum] += len(unit.rows)
    exact = {stratum: size * share for stratum, size in sizes.items()}
    wanted = {stratum: int(number) for stratum, number in exact.items()}
    left = max(1, round(sum(sizes.values()) * share)) - sum(wanted.values())
    able = [stratum for stratum in exact if count[stratum] > 1]
    ranked = sorted(able, key=lambda stratum: (wanted[stratum] - exact[stratum], natural(stratum)))
    for stratum in ranked[:left]:
        wanted[stratum] += 1
    return wanted


def _take(units: Sequence[_Unit], wanted: int) -> set[int]:
    """Rows of whole units, in order, as near to ``wanted`` as that goes; one unit at least is left behind."""
    taken: set[int] = set()
    for unit in units[:-1]:
        if abs(len(taken) + len(unit.rows) - wanted) < abs(len(taken) - wanted):
            taken |= set(unit.rows)
    return taken


def _where(examples: Examples) -> str | None:
    return examples.sources[0] if examples.sources else None
