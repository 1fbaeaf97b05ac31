"""Log-probabilities under the model that training began with, kept in the run's folder: they are measured once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scrimp.core.workspace import atomic_write
from scrimp.examples.templates import Encoded

__all__ = ["keep_references", "with_references"]


def with_references(data: Sequence[Encoded], file: Path, identity: str) -> Sequence[Encoded]:
    """``data`` with what ``file`` has of it; as it is, if there is none or it is damaged or of another run."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["identity"] != identity:
            return data
        pairs = [(float(chosen), float(rejected)) for chosen, rejected in kept["references"]]
        return [replace(one, reference=pair) for one, pair in zip(data, pairs, strict=True)]
    except (OSError, ValueError, KeyError, TypeError):
        return data


def keep_references(data: Sequence[Encoded], file: Path, identity: str) -> None:
    """Write the log-probabilities of ``data``, for the run of this identity.

    Raises:
        WorkspaceError: if ``file`` cannot be written.
    """
    atomic_write(file, json.dumps({"identity": identity, "references": [one.reference for one in data]}))
