"""Several predictors as one: log-probabilities of a label are weighted and summed, scores and several labels averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scrimp.checkpoints.loading import Checkpoint
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.serving.base import MANIFEST, Manifest, Prediction, Predictor, as_scores, as_sets, read_manifest

__all__ = ["Blend", "fitted_weights", "log_probabilities", "mean_weights", "member", "pooled", "shares_of"]

_THRESHOLD = "threshold"
_LEAST = 1e-6   # a probability, below which a prediction is not believed
_SPREAD = 0.7   # of the logarithm of a weight around what all have in common, a priori
_SURE = 1e3     # by how much more than all rows it weighs that the weights of a mean sum to one
_SCALE = 3.0    # of what they have in common, in logarithms: it is nearly free


class Blend(Predictor):
    """A logarithmic opinion pool: log p(label) is the weighted sum of the members' log p(label), and a constant.

    A member that is unsure says about the same of all labels, and so has little to say in the sum. With one member the
    weight is the inverse of a temperature. Genest and Zidek 1986, "Combining Probability Distributions". Of scores, and
    of the probabilities of several labels, it is the weighted sum of theirs.

    Args:
        members: that choose from the same labels, or all say scores.
        weights: positive, one a member.
        labels: in the order in which they are told; otherwise that of the first member.
        threshold: of several labels, the probability from which on one is said; else None.
    """

    kind: ClassVar[str] = "blend"

    def __init__(self, members: Sequence[Predictor], weights: Sequence[float], labels: Sequence[str] = (),
                 threshold: float | None = None) -> None:
        if len({frozenset(one.labels) for one in members}) != 1 or len(members) != len(weights):
            raise ModelError("the members of a blend choose from other labels, or lack a weight", where=MANIFEST)
        self._members, self._weights, self._threshold = tuple(members), tuple(weights), threshold
        self.labels = tuple(labels or members[0].labels)

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        return pooled([one.predict(rows, meter=meter) for one in self._members], self._weights, self.labels,
                      self._threshold)

    def write(self, folder: Path) -> Manifest:
        for number, one in enumerate(self._members):
            one.save(folder / member(number))
        return self.manifest(self.labels, self._weights, self._threshold)

    @classmethod
    def manifest(cls, labels: Sequence[str], weights: Sequence[float], threshold: float | None = None) -> Manifest:
        """Of a folder that holds the members' folders, in the order of the weights."""
        several = {} if threshold is None else {_THRESHOLD: threshold}
        return Manifest(kind=cls.kind, labels=tuple(labels),
                        settings={**{member(number): weight for number, weight in enumerate(weights)}, **several})

    @staticmethod
    def weights_of(manifest: Manifest) -> dict[str, Any]:
        """By the names of the members' folders."""
        return {name: weight for name, weight in manifest.settings.items() if name != _THRESHOLD}

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Blend:
        from scrimp.serving.predictors import KINDS, base_of

        names = [member(number) for number in range(len(cls.weights_of(manifest)))]
        weights, members = manifest.positive(*names, *{_THRESHOLD} & set(manifest.settings)), []
        for path in (folder / name for name in names):
            told = read_manifest(path, [kind for kind in KINDS if kind != cls.kind])
            members.append(KINDS[told.kind].restore(path, told, base_of(told, path)))
        if not members or set(members[0].labels) != set(manifest.labels):
            raise ModelError("the blend has no members, or they choose from other labels", where=str(folder))
        return cls(members, [weights[name] for name in names], manifest.labels, weights.get(_THRESHOLD))


def member(number: int) -> str:
    """Name of the folder of one member."""
    return f"member-{number}"


def log_probabilities(said: Sequence[Prediction], labels: Sequence[str]) -> np.ndarray:
    """[N, C] of predictions with scores; of a label that one does not know, that of the least that is believed."""
    return np.log(np.maximum(shares_of(said, labels), _LEAST))


def shares_of(said: Sequence[Prediction], labels: Sequence[str]) -> np.ndarray:
    """Probabilities [N, C] that predictions tell; 0 of a label that one does not know."""
    shares = np.array([[prediction["scores"].get(label, 0.0) for label in labels] for prediction in said])
    return shares.reshape(len(said), len(labels))


def pooled(said: Sequence[Sequence[Prediction]], weights: Sequence[float], labels: Sequence[str],
           threshold: float | None = None) -> list[Prediction]:
    """What the blend says where its members said this, each of the same rows.

    Raises:
        ModelError: if it has no labels, and a member says no scores; or if not all say one label, or several.
    """
    if labels and any(("labels" in one) != (threshold is not None) for some in said for one in some):
        raise ModelError("a member of the blend says one label and the blend several, or the other way round",
                         where=MANIFEST)
    if threshold is not None:
        shares = np.stack([shares_of(one, labels) for one in said])
        return as_sets(np.einsum("m,mnc->nc", np.asarray(weights), shares), labels, threshold)
    if not labels:
        if any("score" not in one for some in said for one in some):
            raise ModelError("a member of the blend says neither labels nor scores", where=MANIFEST)
        scores = np.asarray(weights) @ np.array([[one["score"] for one in some] for some in said])
        return [{"score": score} for score in scores.tolist()]
    logs = np.stack([log_probabilities(one, labels) for one in said])
    return as_scores(np.einsum("m,mnc->nc", np.asarray(weights), logs), labels)


def mean_weights(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weights [M] of the mean of scores [M, N], none negative, that is nearest to the true ones [N].

    What the members were not fitted on is given. Breiman 1996, "Stacked Regressions".
    """
    from scipy.optimize import nnls

    centre, spread = truth.mean(), truth.std() or 1.0
    sum_to_one = _SURE * np.sqrt(len(truth))
    rows = np.vstack([((scores - centre) / spread).T, np.full((1, len(scores)), sum_to_one)])
    found, _ = nnls(rows, np.append((truth - centre) / spread, sum_to_one))
    return np.asarray(found / found.sum()) if found.sum() > 0 else np.full(len(scores), 1 / len(scores))


def fitted_weights(logs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weights [M] under which the members' sum makes the true labels most probable.

    Their logarithms are normal around a common one a priori, so that few rows leave the weights nearly equal and many
    tell the members apart.

    Args:
        logs: log-probabilities [M, N, C] of rows that the members were not fitted on.
        truth: int [N], which label each row has.
    """
    from scipy.optimize import minimize

    members, rows = len(logs), np.arange(logs.shape[1])

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        common, own = free[0], free[1:]
        weights = np.exp(common + own)
        summed = np.einsum("m,mnc->nc", weights, logs)
        summed -= summed.max(axis=1, keepdims=True)
        shares = np.exp(summed)
        total = shares.sum(axis=1, keepdims=True)
        shares /= total
        value = float((np.log(total[:, 0]) - summed[rows, truth]).sum())
        shares[rows, truth] -= 1.0
        slopes = np.einsum("nc,mnc->m", shares, logs) * weights
        value += 0.5 * float((own @ own) / _SPREAD**2 + common**2 / _SCALE**2)
        return value, np.concatenate([[slopes.sum() + common / _SCALE**2], slopes + own / _SPREAD**2])

    start = np.concatenate([[-np.log(members)], np.zeros(members)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-6.0, 6.0)] * (members + 1)).x
    return np.exp(found[0] + found[1:])
