"""What a server has done, as Prometheus reads it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

__all__ = ["Metrics"]

_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # seconds
_OTHER = "other"


class Metrics:
    """Requests by path and status, and how long they and their first pieces took.

    Args:
        paths: that are counted by their own names; all others are counted together, so that nobody can fill memory
            by asking for many.
    """

    def __init__(self, paths: frozenset[str]) -> None:
        self._paths, self._lock = paths, threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._times = {"request": _Histogram(), "first_token": _Histogram()}

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request is over."""
        with self._lock:
            self._requests[path if path in self._paths else _OTHER, status] += 1
            self._times["request"].add(seconds)

    def first_token(self, seconds: float) -> None:
        """A first piece of text has come."""
        with self._lock:
            self._times["first_token"].add(seconds)

    def page(self, counters: Mapping[str, float], gauges: Mapping[str, float]) -> str:
        """All of it, with other numbers, in the text format 0.0.4."""
        with self._lock:
            lines = ["# TYPE scrimp_requests_total counter"]
            lines += [f'scrimp_requests_total{{path="{path}",status="{status}"}} {count}'
                      for (path, status), count in sorted(self._requests.items())]
            for name, histogram in self._times.items():
                lines += histogram.lines(f"scrimp_{name}_seconds")
        for kind, numbers in (("counter", counters), ("gauge", gauges)):
            for name, value in numbers.items():
                lines += [f"# TYPE scrimp_{name} {kind}", f"scrimp_{name} {value:g}"]
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self) -> None:
        self._counts, self._sum = [0] * (len(_BOUNDS) + 1), 0.0

    def add(self, seconds: float) -> None:
        self._counts[next((i for i, bound in enumerate(_BOUNDS) if seconds <= bound), len(_BOUNDS))] += 1
        self._sum += seconds

    def lines(self, name: str) -> list[str]:
        found, total = [f"# TYPE {name} histogram"], 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*found, f"{name}_sum {self._sum:g}", f"{name}_count {total}"]
