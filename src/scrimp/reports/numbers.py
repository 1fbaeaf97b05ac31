"""Numbers as a person reads them: the page and the terminal write every figure through here."""

from __future__ import annotations

from scrimp.evaluation.outcome import Retention, Score

__all__ = ["change", "count", "decimal", "duration", "estimate", "interval", "is_share", "metric_name", "range_of",
           "score", "share", "short", "size", "spoken"]

_SHARES = frozenset({"accuracy", "balanced-accuracy", "exact-match", "f1", "hamming-loss", "macro-f1", "micro-f1",
                     "preference-accuracy", "subset-accuracy"})
_NAMES = {"hamming-loss": "Hamming loss", "macro-f1": "macro F1", "micro-f1": "micro F1", "f1": "F1",
          "chrf": "chrF", "rouge-l": "ROUGE-L", "rougel": "ROUGE-L",
          "rmse": "RMSE", "mae": "MAE", "r2": "R²", "spearman": "Spearman's rank correlation"}


def _key(metric: str) -> str:
    return metric.lower().replace("_", "-").replace(" ", "-")


def is_share(metric: str) -> bool:
    """Whether the metric counts out of one, and so reads best in per cent."""
    return _key(metric) in _SHARES


def metric_name(metric: str) -> str:
    """``macro_f1`` as ``macro F1``."""
    return _NAMES.get(_key(metric), metric.replace("_", " ").replace("-", " "))


def decimal(value: float, signed: bool = False) -> str:
    """A plain number to about three figures; ``signed`` keeps the plus."""
    size = abs(value)
    form = ".3f" if size < 10 else ".1f" if size < 1000 else ",.0f" if size < 1e9 else ".2e"
    text = format(value, ("+" if signed else "") + form)
    return text.lstrip("+-") if not any(digit in text for digit in "123456789") else text


def score(value: float, metric: str) -> str:
    """One score: ``73.0%`` for a share, else three figures."""
    return f"{value:.1%}" if is_share(metric) and abs(value) <= 1 else decimal(value)


def estimate(found: Score | Retention) -> str:
    """The number alone: ``73.0%`` of a score, the change ``+0.021`` of a retention."""
    return score(found.value, found.metric) if isinstance(found, Score) else decimal(found.change, True)


def range_of(found: Score | Retention) -> str:
    """Its 95 % interval: ``[68.6, 77.1]``, ``[+0.010, +0.032]``."""
    low, high = _bounds(found)
    return f"[{low}, {high}]"


def interval(found: Score | Retention) -> str:
    """Both: ``73.0% [68.6, 77.1]``."""
    return f"{estimate(found)} {range_of(found)}"


def spoken(found: Score, as_: str = "") -> str:
    """Both, as they are said: ``73.0% (68.6 to 77.1)``; ``as_`` names the interval."""
    low, high = _bounds(found)
    return f"{estimate(found)} ({as_}{low} to {high})"


def _bounds(found: Score | Retention) -> tuple[str, ...]:
    if isinstance(found, Score):
        return tuple(score(bound, found.metric).rstrip("%") for bound in (found.low, found.high))
    return tuple(decimal(bound, True) for bound in (found.low, found.high))


def change(value: float) -> str:
    """A difference with its sign: ``+0.021``."""
    return decimal(value, True)


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in per cent; a whole of nothing has no share."""
    return f"{part / whole:.1%}" if whole else "none"


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def _scaled(number: float, base: int, units: tuple[str, ...]) -> str:
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / base, power + 1
    decimals = 0 if power == 0 or abs(number) >= 99.95 else 1
    return f"{number:,.{decimals}f}{units[power]}"


def short(number: int) -> str:
    """A count in little room: ``134.5M``."""
    return _scaled(number, 1000, ("", "k", "M", "G", "T", "P", "E"))


def size(number: int) -> str:
    """Bytes: ``4.7 MiB``."""
    return _scaled(number, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say enough: ``0.4 s``, ``12 s``, ``3 min 41 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    minutes = whole // 60
    if minutes < 48 * 60:
        return _two(minutes // 60, "h", minutes % 60, "min")
    return f"{count(minutes // 1440)} days"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")
