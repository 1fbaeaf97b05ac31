"""The rows of a run: read, checked for leaks, and parted into what is learned from and what is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from scrimp.core.errors import DataError
from scrimp.examples import leakage, splits
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout
from scrimp.planning.unlabelled import gather_pool

__all__ = ["ENOUGH_TO_HOLD_OUT", "Material", "gather"]

ENOUGH_TO_HOLD_OUT = 200  #: rows; of fewer, none are taken for a test
_TEST_SHARE = 0.2
_MOST_TEST_ROWS = 2000


@dataclass(frozen=True)
class Material:
    """What a run works on.

    Attributes:
        train, test: disjoint rows; ``test`` is None where there are too few rows to hold any out.
        test_origin: where the test rows came from, in words.
        repeats: places in ``train`` of rows that ask the same, the earliest of each group first.
        torn: those of them that stand with different labels or scores.
        leaked: rows taken out of ``train`` because the test holds them too.
        pool: rows without labels, that are neither of ``train`` nor of ``test``; None where none were given.
        warnings: what a person should know about their rows.
    """

    train: Examples
    test: Examples | None
    test_origin: str
    repeats: tuple[tuple[int, ...], ...]
    torn: tuple[leakage.Conflict, ...]
    leaked: int
    pool: Examples | None
    warnings: tuple[str, ...]

    @property
    def duplicates(self) -> int:
        """Rows of ``train`` that repeat another one."""
        return sum(len(group) - 1 for group in self.repeats)


def gather(request: Any, *, keep_found: bool = False) -> Material:
    """Read the request's rows and make them fit to learn from.

    Args:
        request: the options of the verb.
        keep_found: keep the fields of the training rows as they stand in their source, in `Examples.found`.

    Raises:
        DataError: if the files cannot be used, are of different layouts, or leave nothing to learn from.
    """
    shape = {"columns": request.columns, "on_bad_row": request.on_bad_row}
    train = read(request.data, layout=request.layout, keep_found=keep_found, find_scores=True, **shape)
    warnings = [*train.notes]
    test, origin = None, "none: too few rows to hold any out; the scores are those of cross-validation"
    if request.test is not None:
        test = read(request.test, layout=train.layout, **shape)
        origin = "the given test rows"
        warnings += test.notes
    elif len(train) >= ENOUGH_TO_HOLD_OUT:
        share = min(_TEST_SHARE, _MOST_TEST_ROWS / len(train))
        train, test = splits.split(train, share, seed=request.seed)
        origin = f"{len(test)} rows of the data, held out before anything else"
    leaked = 0
    if test is not None:
        train, leaked = _without_leaks(train, test, warnings)
    _check_several(train)
    if test is not None:
        _check_known(train, test, warnings)
    pool = gather_pool(request, train, test)
    found = Material(replace(train, notes=()), test, origin, tuple(map(tuple, leakage.duplicates(train))),
                     tuple(leakage.conflicts(train)), leaked, pool, tuple(warnings))
    return replace(found, warnings=(*warnings, *_of_repeats(found)))


def _without_leaks(train: Examples, test: Examples, warnings: list[str]) -> tuple[Examples, int]:
    """The training rows that the test does not hold, word for word or nearly; what is taken out is said."""
    found = leakage.find(train, test)
    leaked = found.train_rows
    if not leaked:
        return train, 0
    if len(leaked) == len(train):
        raise DataError("every training row stands in the test set too", where=train.sources[0],
                        fix="give test rows that were not taken from the training rows")
    warnings.append(f"{len(leaked)} training rows stand in the test set too ({len(found.exact)} word for word, the "
                    f"rest nearly; the first is {train.sources[leaked[0]]}); they were not trained on")
    return train.subset(sorted(set(range(len(train))) - set(leaked))), len(leaked)


def _of_repeats(found: Material) -> Iterator[str]:
    if found.duplicates:
        yield f"{found.duplicates} training rows repeat another row; they are kept together when rows are parted"
    if found.torn:
        yield (f"{len(found.torn)} texts stand with different {str(found.train.layout).removesuffix('s')}s, such as "
               f"{found.train.sources[found.torn[0].rows[0]]}")


def _check_several(train: Examples) -> None:
    if not train.layout.headed:
        return
    found = {str(row[train.layout]) for row in train.rows}
    if len(found) < 2:
        several = train.layout is Layout.LABELS
        raise DataError(f"all training rows have the {train.layout} {found.pop() if several else repr(found.pop())}",
                        where=train.sources[0], fix="give rows that differ in their labels" if several else
                        f"give rows of at least two {train.layout}s")


def _check_known(train: Examples, test: Examples, warnings: list[str]) -> None:
    """See that each row of the test can be predicted right; where one may have several labels, some are told of."""
    unknown = sorted(set(test.labels) - set(train.labels))
    if unknown and train.layout is Layout.LABELS:
        warnings.append(f"the test rows have labels that no training row has, and that are never predicted: "
                        f"{', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''}")
    elif unknown:
        row = next(i for i, r in enumerate(test) if r["label"] == unknown[0])
        raise DataError(f"the test rows have labels that no training row has: {', '.join(unknown[:5])}",
                        where=test.sources[row], fix="add training rows with these labels or take them out of the test")
