"""The ledger: one JSON line for each thing that happened, appended and synced, so that a kill loses at most a line."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scrimp.core.errors import WorkspaceError

__all__ = ["Ledger", "attempted_s", "environment"]


class Ledger:
    """An append-only JSONL file of events.

    Args:
        path: the file; its folder is made on the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with its time (seconds since the epoch) and fields."""
        line = json.dumps({"event": event, "at": round(time.time(), 3), **fields}, ensure_ascii=False, default=str)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if file.tell() and not self._ends_with_newline():
                    file.write(b"\n")  # the line before was cut by a kill
                file.write(line.encode("utf-8", "backslashreplace") + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WorkspaceError("the ledger cannot be written", where=str(self.path), why=str(error)) from None

    def read(self, event: str | None = None) -> list[dict[str, Any]]:
        """All events, or those of one kind; a line that a kill cut short is passed over."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WorkspaceError("the ledger cannot be read", where=str(self.path), why=str(error)) from None
        events = []
        for line in text.split("\n"):  # JSON leaves other line breaks, such as U+2028, as they are
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict) and event in (None, entry.get("event")):
                events.append(entry)
        return events

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def attempted_s(events: Iterable[Mapping[str, Any]]) -> float:
    """Seconds that attempts at a run took, each from its line until the last before the next attempt's."""
    total, started, last = 0.0, None, 0.0
    for event in events:
        at = event.get("at")
        if not isinstance(at, int | float) or not math.isfinite(at):
            continue  # no line of ours
        if event.get("event") == "attempt":
            total, started = total + (0.0 if started is None else last - started), at
        last = at
    return total + (0.0 if started is None else last - started)


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Versions, device, processor and threads: what a result depends on beside its inputs."""
    import platform

    import torch

    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.system(),
                             "processor": _processor(), "threads": torch.get_num_threads(),
                             "device": "cuda" if torch.cuda.is_available() else "cpu"}
    for package in ("scrimp", "torch", "transformers", "peft", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()
