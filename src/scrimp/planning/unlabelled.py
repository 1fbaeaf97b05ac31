"""Rows without labels: which of a model's answers on them it may learn from, and which rows to have labelled next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, OptionError
from scrimp.data.selection.acquisition import balanced, uncertainty
from scrimp.examples import leakage
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout

if TYPE_CHECKING:
    from scrimp.serving.predictors import Prediction

__all__ = ["chances", "gather_pool", "most_telling", "said_of", "surest"]

_TAUGHT_SHARE = 0.5  # of the rows that are said to have a label, at most, if all labels were said as often
_SHARE_OF_TIME = 0.3  # of what is left, for the answers of the winner
_CHUNK = 32  # rows that are asked of at once; the first time one, and twice as many each time
_PROPOSED = 4  # times as many rows as are wanted are proposed, before labels are balanced


def gather_pool(request: Any, train: Examples, test: Examples | None) -> Examples | None:
    """The request's rows without labels, but for those that stand in ``train`` or in ``test``, or repeat another.

    Raises:
        DataError: if they cannot be read, or none is left.
        OptionError: if it is no labels that are learned.
    """
    if request.unlabelled is None:
        return None
    if train.layout is not Layout.LABEL:
        raise OptionError(f"rows without {train.layout.noun} can be of no use", where="unlabelled",
                          why="only labels are guessed, or asked for", fix="leave it out")
    columns = {name: field for name, field in (request.columns or {}).items() if name == "text"}
    pool = read(request.unlabelled, layout=train.layout, columns=columns, on_bad_row=request.on_bad_row,
                require_target=False)
    gone = {*leakage.find(pool, train, threshold=None).train_rows,
            *(leakage.find(pool, test).train_rows if test is not None else ()),
            *(row for group in leakage.duplicates(pool) for row in group[1:])}
    if len(gone) == len(pool):
        raise DataError("all rows without labels stand among the training or the test rows too",
                        where=pool.sources[0], fix="leave --unlabelled out, or name other rows")
    return pool.subset(sorted(set(range(len(pool))) - gone))


def chances(said: Sequence[Prediction], labels: Sequence[str]) -> np.ndarray:
    """The probability that was given to each label, float64 [N, C]."""
    return np.array([[one["scores"][label] for label in labels] for one in said]).reshape(len(said), len(labels))


def surest(said: Sequence[Prediction], labels: Sequence[str]) -> list[int]:
    """Of the rows that are said to have each label those of which that is surest, as many for each label at most.

    Zou et al. 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training".

    Args:
        said: predictions of N rows.
        labels: that are told apart.
    """
    given = chances(said, labels)
    best, sure = given.argmax(axis=1), given.max(axis=1)
    most = math.ceil(_TAUGHT_SHARE * len(said) / len(labels))
    kept: list[int] = []
    for label in range(len(labels)):
        rows = np.flatnonzero(best == label)
        kept += rows[np.argsort(-sure[rows], kind="stable")][:most].tolist()
    return sorted(kept)


def said_of(pool: Examples, folder: Path, meter: Meter, *, left_s: float) -> list[Prediction]:
    """What the model in ``folder`` says of the first rows, as many as a share of ``left_s`` seconds allows."""
    from scrimp.serving.predictors import load_predictor

    found: list[Prediction] = []
    with meter.part() as part:
        predictor, chunk, longest_s = load_predictor(folder), 1, 0.0
        while len(found) < len(pool) and part.elapsed_s() + 2 * longest_s < _SHARE_OF_TIME * left_s:
            begun = part.elapsed_s()
            found += predictor.predict(pool.rows[len(found):len(found) + chunk], meter=part)
            longest_s, chunk = max(longest_s, part.elapsed_s() - begun), min(2 * chunk, _CHUNK)
    return found


def most_telling(given: np.ndarray, counts: Sequence[int], keep: int) -> list[int]:
    """Rows whose labels would teach most, the most telling first.

    Those between whose two likeliest labels a model can least decide are proposed; of these the label that is said of
    them is kept in balance with what is labelled already. Settles 2009, "Active Learning Literature Survey"; Bang et
    al. 2024, "Active Prompt Learning in Vision Language Models".

    Args:
        given: probabilities of labels [N, C].
        counts: labelled rows of each label, C.
        keep: how many, at most.
    """
    proposed = np.argsort(-uncertainty("margin", given), kind="stable")[:_PROPOSED * keep]
    places = balanced(given[proposed].argmax(axis=1), np.asarray(counts), min(keep, len(proposed)))
    return [int(i) for i in proposed[places]]
