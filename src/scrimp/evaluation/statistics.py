"""How sure a number is: intervals for proportions, for anything computed from sums over rows, and for seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from scrimp.core.errors import DataError

__all__ = ["Interval", "bootstrap", "chosen", "paired_bootstrap", "t_interval", "wilson"]

Interval = tuple[float, float]
Value = Callable[[np.ndarray], np.ndarray]  # sums over rows [..., K] -> the statistic [...]
_DRAWS = 2000
_BLOCK = 1 << 22  # resampling counts held at once


def mean_of_first(sums: np.ndarray) -> np.ndarray:
    """The mean of contributions ``(value, 1)``."""
    return sums[..., 0] / sums[..., 1]


def wilson(successes: float, n: int, *, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".

    Raises:
        DataError: if there are no rows.
    """
    if n < 1:
        raise DataError("there are no rows to measure on")
    z = stats.norm.ppf(0.5 + confidence / 2)
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def bootstrap(contributions: np.ndarray, value: Value = mean_of_first, *, seed: int = 0, draws: int = _DRAWS,
              confidence: float = 0.95) -> Interval:
    """Bias-corrected and accelerated bootstrap over rows, of a statistic of sums.

    Efron 1987, "Better Bootstrap Confidence Intervals".

    Args:
        contributions: float [N, K], what each row adds to the sums.
        value: the statistic of sums [..., K].
        seed: of the resampling.

    Returns:
        The interval; both ends are the value itself where every resample gives the same.

    Raises:
        DataError: with fewer than two rows.
    """
    if len(contributions) < 2:
        raise DataError("an interval needs at least two rows", fix="measure on more rows")
    total = contributions.sum(axis=0)
    drawn = value(_resampled(contributions, seed, draws))
    found = float(value(total))
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or np.ptp(drawn) == 0:
        return found, found
    below = (np.sum(drawn < found) + np.sum(drawn == found) / 2) / len(drawn)
    bias = stats.norm.ppf(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    tails = stats.norm.ppf([0.5 - confidence / 2, 0.5 + confidence / 2])
    shifted = bias + (bias + tails) / (1 - _acceleration(value(total - contributions)) * (bias + tails))
    low, high = np.quantile(drawn, stats.norm.cdf(shifted))
    return float(low), float(high)


def paired_bootstrap(before: np.ndarray, after: np.ndarray, value: Value = mean_of_first, *, seed: int = 0,
                     draws: int = _DRAWS, confidence: float = 0.95) -> tuple[float, float, float]:
    """The statistic of ``after`` less that of ``before``, with its interval, the same rows drawn for both.

    Args:
        before, after: contributions of the same rows, both [N, K].

    Returns:
        The difference, and the low and the high end.

    Raises:
        DataError: if they are not of the same rows, or fewer than two.
    """
    if before.shape != after.shape:
        raise DataError(f"a paired comparison needs the same rows, not {len(before)} and {len(after)}")
    half = before.shape[1]

    def difference(sums: np.ndarray) -> np.ndarray:
        return value(sums[..., half:]) - value(sums[..., :half])

    both = np.concatenate([before, after], axis=1)
    low, high = bootstrap(both, difference, seed=seed, draws=draws, confidence=confidence)
    return float(difference(both.sum(axis=0))), low, high


def chosen(ways: Sequence[np.ndarray], value: Value = mean_of_first, *, higher: bool = True, seed: int = 0,
           draws: int = _DRAWS) -> float:
    """What the best of several ways scores on rows that it was not chosen on.

    Rows are drawn with repetition, the best way on them is chosen, and measured on the rows that were not drawn; the
    mean over the draws. Tsamardinos, Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for
    efficient and accurate cross-validation".

    Args:
        ways: contributions of the same rows, [N, K] for each way.
        value: the statistic of sums [..., K].
        higher: whether more is better.
        seed: of the draws.

    Raises:
        DataError: with fewer than two rows, or none that is ever left out.
    """
    each = np.stack(ways)
    count = each.shape[1]
    if count < 2:
        raise DataError("rows can be left out of two at least", fix="measure on more rows")
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may leave nothing out
        inside, outside = (value(np.einsum("bn,wnk->bwk", weights.astype(np.float64), each))
                           for weights in (drawn, drawn == 0))
    best = np.argmax(inside if higher else -inside, axis=1)
    found = outside[np.arange(draws), best]
    if not np.isfinite(found).any():
        raise DataError("no draw leaves rows out that can be measured on", fix="measure on more rows")
    return float(found[np.isfinite(found)].mean())


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of independent runs, such as one a seed.

    Raises:
        DataError: with fewer than two values.
    """
    if len(values) < 2:
        raise DataError("an interval over seeds needs at least two of them", fix="run more seeds")
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def _resampled(contributions: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Sums over each of ``draws`` resamples of the rows, [draws, K]."""
    rng, n = np.random.default_rng(seed), len(contributions)
    block = max(1, _BLOCK // n)
    counts = (rng.multinomial(n, np.full(n, 1 / n), size=min(block, draws - at)) for at in range(0, draws, block))
    return np.concatenate([count @ contributions for count in counts])


def _acceleration(left_out: np.ndarray) -> float:
    """From the statistic with each row left out in turn."""
    away = left_out[np.isfinite(left_out)]
    away = away.mean() - away
    spread = np.sum(away**2) ** 1.5
    return float(np.sum(away**3) / (6 * spread)) if spread > 0 else 0.0
