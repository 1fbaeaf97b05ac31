"""From the scores of each seed to a verdict: paired t-intervals, and the smallest effect that could have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from scrimp.core.errors import GuardError
from scrimp.core.options import Options
from scrimp.evidence.claims import Inequality, Scores

__all__ = ["LEAST_SEEDS", "Finding", "Verdict", "judge", "overall"]

Verdict = Literal["holds", "fails", "inconclusive"]
LEAST_SEEDS = 5
_POWER = 0.8


class Finding(Options):
    """How one inequality came out.

    Attributes:
        inequality: as the claim writes it.
        gaps: for each seed, by how much it was true, in units of the measure; negative where it was not.
        effect, low, high: their mean, and its paired 95 % t-interval.
        against: the mean of what it was compared with, factor and margin included.
        detectable: the smallest effect that as many seeds with as much spread would show four times in five.
        verdict: holds if the interval is on the claim's side of zero, fails if it is on the other.
    """

    inequality: str
    gaps: tuple[float, ...]
    effect: float
    low: float
    high: float
    against: float
    detectable: float
    verdict: Verdict


def judge(inequality: Inequality, scores: Scores, seeds: Sequence[int]) -> Finding:
    """The finding on an inequality.

    Raises:
        GuardError: with fewer than five seeds.
    """
    import numpy as np

    from scrimp.evaluation.statistics import t_interval

    if len(seeds) < LEAST_SEEDS:
        raise GuardError(f"a verdict needs at least {LEAST_SEEDS} seeds, not {len(seeds)}", fix="--seeds 0-4")
    gaps = inequality.gaps(scores, seeds)
    low, high = t_interval(gaps)
    return Finding(inequality=inequality.text, gaps=tuple(gaps), effect=float(np.mean(gaps)), low=low, high=high,
                   against=float(np.mean([inequality.bound(scores, seed) for seed in seeds])),
                   detectable=_detectable(gaps), verdict=_side(low, high, inequality.strict))


def overall(findings: Sequence[Finding]) -> Verdict:
    """A claim holds if all of its inequalities do, and fails if one of them does."""
    verdicts = {finding.verdict for finding in findings}
    return "fails" if "fails" in verdicts else "inconclusive" if "inconclusive" in verdicts else "holds"


def _side(low: float, high: float, strict: bool) -> Verdict:
    if low > 0 or (low == 0 and not strict):
        return "holds"
    return "fails" if high < 0 else "inconclusive"


def _detectable(gaps: Sequence[float]) -> float:
    import numpy as np
    from scipy import stats

    freedom = len(gaps) - 1
    reach = stats.t.ppf(0.975, freedom) + stats.t.ppf(_POWER, freedom)
    return float(reach * np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
