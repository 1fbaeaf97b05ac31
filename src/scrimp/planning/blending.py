"""A blend of the rungs of a run, fitted on what each said of the rows that it was not trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.workspace import atomic_write, folder_bytes
from scrimp.evaluation.outcome import Rung
from scrimp.examples.records import Layout
from scrimp.planning.findings import Climbed
from scrimp.serving.base import Prediction, as_scores, as_sets
from scrimp.serving.blend import Blend, fitted_weights, log_probabilities, mean_weights, member, pooled, shares_of
from scrimp.serving.heads import has_each
from scrimp.tuning.heads.several import best_threshold

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run

__all__ = ["NAME", "as_good", "blended"]

NAME = "blend"
_LEAST_ROWS = 8     # to fit weights on
_MOST_FITTED = 400  # rows; more of them change the weights little
_FOLDS = 5          # in which the weights are fitted on the others
_LEAST_WEIGHT = 0.02  # of a member's scores in their mean
_DOUBT = 1.0        # nats, over all rows, by which the truth must be likelier without a member for it to go


def blended(run: Run, climbed: Sequence[Climbed]) -> Climbed | None:
    """The rungs that choose from labels, or say a number, as one rung; None where there is nothing to blend.

    Members without which the others do clearly better are left out. Of a judged row the blend says what it would with
    weights that were fitted without this row's fifth.

    Args:
        run: whose judged rows, test and folder these are.
        climbed: all rungs that were tried.
    """
    members = [one for one in climbed if one.judged and one.record.skipped is None]
    if run.train.layout not in _MIXED or len(run.judged_rows) < _LEAST_ROWS or len(members) < 2:
        return None
    mixed = _MIXED[run.train.layout](run, members)
    if len(mixed.kept) < 2:
        return None
    members, weights, threshold = [members[i] for i in mixed.kept], mixed.weights, mixed.threshold
    names = [one.record.name for one in members]
    told: dict[str, Any] = {"weights": dict(zip(names, weights.round(4).tolist(), strict=True))}
    told |= {} if threshold is None else {"threshold": round(threshold, 4)}
    folder = run.space.step(NAME, {**told, "of": [str(one.folder) for one in members]},
                            lambda partial: _made(run, members, (weights.tolist(), threshold), mixed.judged(), partial))
    said = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    record = Rung.parse(json.loads((folder / "rung.json").read_text(encoding="utf-8")), where=str(folder))
    return Climbed(record.model_copy(update={"chosen": told}), **said, folder=folder)


class _Labels:
    """The log-probabilities of several members, weighted.

    Attributes:
        kept: members that stay, in order.
        weights: of these.
        threshold: from which on one of several labels is said; None where one is chosen.
    """

    threshold: float | None = None

    def __init__(self, run: Run, members: Sequence[Climbed]) -> None:
        self._labels = run.train.labels
        self._truth = np.array([self._labels.index(row["label"]) for row in run.judged_rows])
        logs = np.stack([log_probabilities(one.judged, self._labels) for one in members])
        fitted = _fitted_on(run)
        self.kept = _kept(logs[:, fitted], self._truth[fitted])
        self._logs = logs[self.kept]
        self.weights = fitted_weights(self._logs[:, fitted], self._truth[fitted])

    def judged(self) -> list[Prediction]:
        """What the blend says of the judged rows."""
        return as_scores(_crossed(self._logs, self._truth), self._labels)


class _Means:
    """Numbers of several members, weighted so that their mean is nearest to the truth; see `_Labels`."""

    threshold: float | None = None

    def __init__(self, run: Run, members: Sequence[Climbed]) -> None:
        self._labels, fitted = run.train.labels, _fitted_on(run)
        self._truth = self._wanted(run.judged_rows)
        said = np.stack([self._told(one.judged) for one in members])
        self.kept = np.flatnonzero(self._weighted(said, fitted) > _LEAST_WEIGHT).tolist()
        self._said = said[self.kept]
        self.weights = self._weighted(self._said, fitted)

    def _told(self, said: Sequence[Prediction]) -> np.ndarray:
        """What a member says, float64 [N, C]."""
        return np.array([[one["score"]] for one in said])

    def _wanted(self, rows: Sequence[Any]) -> np.ndarray:
        """What is true, float64 [N, C]."""
        return np.array([[row["score"]] for row in rows])

    def _weighted(self, said: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The weights of members that say [M, N, C], by some of the rows."""
        return mean_weights(said[:, rows].reshape(len(said), -1), self._truth[rows].ravel())

    def _mean(self, rows: np.ndarray, of: np.ndarray) -> np.ndarray:
        """What the members say of some rows, with the weights that others give them."""
        return np.einsum("m,mnc->nc", self._weighted(self._said, rows), self._said[:, of])


class _Scores(_Means):
    """Scores."""

    def judged(self) -> list[Prediction]:
        """What the blend says of the judged rows."""
        found = np.empty(self._truth.shape)
        for others in _others(len(found)):
            found[~others] = self._mean(others, ~others)
        return [{"score": score} for score in found[:, 0].tolist()]


class _Sets(_Means):
    """Probabilities of several labels, and the threshold under which their mean does best."""

    def __init__(self, run: Run, members: Sequence[Climbed]) -> None:
        super().__init__(run, members)
        fitted = _fitted_on(run)
        self.threshold = best_threshold(self._mean(fitted, fitted), self._truth[fitted])

    def _told(self, said: Sequence[Prediction]) -> np.ndarray:
        return shares_of(said, self._labels)

    def _wanted(self, rows: Sequence[Any]) -> np.ndarray:
        return has_each([row["labels"] for row in rows], self._labels)

    def judged(self) -> list[Prediction]:
        """What the blend says of the judged rows."""
        found: list[Prediction] = [{}] * len(self._truth)
        for others in _others(len(found)):
            threshold = best_threshold(self._mean(others, others), self._truth[others])
            said = as_sets(self._mean(others, ~others), self._labels, threshold)
            for place, one in zip(np.flatnonzero(~others), said, strict=True):
                found[place] = one
        return found


_MIXED: dict[Layout, type[_Labels] | type[_Scores] | type[_Sets]] = {
    Layout.LABEL: _Labels, Layout.LABELS: _Sets, Layout.SCORE: _Scores}


def _fitted_on(run: Run) -> np.ndarray:
    """Of the judged rows some, by chance, on which weights are fitted."""
    return np.random.default_rng(run.request.seed).permutation(len(run.judged_rows))[:_MOST_FITTED]


def _others(rows: int) -> Iterator[np.ndarray]:
    """Of each fold of so many rows, which are outside of it; bool [N]."""
    fold = np.arange(rows) % _FOLDS
    return (fold != number for number in range(_FOLDS))


def _made(run: Run, members: Sequence[Climbed], mixed: tuple[list[float], float | None], judged: list[Prediction],
          folder: Path) -> None:
    """Write the blend's predictor, of these weights and threshold, its record and predictions."""
    from scrimp.core.registry import build
    from scrimp.serving.base import MANIFEST

    labels = run.train.labels
    for number, one in enumerate(members):
        shutil.copytree(one.folder / "model", folder / "model" / member(number))
    atomic_write(folder / "model" / MANIFEST, Blend.manifest(labels, *mixed).model_dump_json(indent=1))
    both = min(len(one.tested) for one in members)
    tested, probed = (pooled(said, mixed[0], labels, mixed[1]) for said in
                      ([one.tested[:both] for one in members], [one.probed for one in members]))
    metric = build("metric", run.metric)
    record = Rung(
        name=NAME, title=f"Blend of {_listed([one.record.name for one in members])}", kind="blend",
        validation=metric.measure(judged, run.judged_rows), test=run.scores(tested),
        retention=_most_forgotten(members), trainable=sum(one.record.trainable for one in members),
        ship_bytes=folder_bytes(folder / "model"))
    atomic_write(folder / "rung.json", record.model_dump_json())
    atomic_write(folder / "predictions.json", json.dumps({"judged": judged, "tested": tested, "probed": probed}))


def as_good(single: Climbed, blend: Climbed, run: Run) -> bool:
    """Whether the blend does as well as the best single rung, within the standard error of their difference."""
    from scrimp.core.registry import build

    metric = build("metric", run.metric)
    found = metric.compare(single.judged, blend.judged, run.judged_rows)
    better = found.value if metric.higher_is_better else -found.value
    return better >= -(found.high - found.low) / (2 * 1.96)


def _kept(logs: np.ndarray, truth: np.ndarray) -> list[int]:
    """Members of log-probabilities [M, N, C] that are not better left out; those that alone do worst are doubted first.

    Few rows say little against a member, and keep it.
    """
    kept, loss = list(range(len(logs))), _loss(_crossed(logs, truth), truth)
    alone = [_loss(_crossed(logs[[i]], truth), truth) for i in kept]
    for doubted in sorted(kept, key=lambda i: -alone[i]):
        rest = [i for i in kept if i != doubted]
        if rest and (without := _loss(_crossed(logs[rest], truth), truth)) < loss - _DOUBT / len(truth):
            kept, loss = rest, without
    return kept


def _crossed(logs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, C] of the blend, each row's with weights fitted on the other folds; unnormalised."""
    found = np.empty(logs.shape[1:])
    for others in _others(len(truth)):
        found[~others] = np.einsum("m,mnc->nc", fitted_weights(logs[:, others], truth[others]), logs[:, ~others])
    return found


def _loss(logs: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-probability of the truth, in nats."""
    highest = logs.max(axis=1, keepdims=True)
    normal = np.log(np.exp(logs - highest).sum(axis=1)) + highest[:, 0]
    return float((normal - logs[np.arange(len(truth)), truth]).mean())


def _most_forgotten(members: Sequence[Climbed]) -> Any:
    """What the members lost that were tuned: of several, the one that lost most of what is measured first."""
    found = [one.record.retention for one in members if one.record.retention is not None]
    return max(found, key=lambda one: abs(one.after - one.before), default=None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1]
