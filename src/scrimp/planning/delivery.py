"""The folder that a person named for the results: claimed before the work, filled after it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from scrimp.core.errors import DataError, WorkspaceError
from scrimp.core.workspace import atomic_folder, atomic_write
from scrimp.evaluation.outcome import Outcome
from scrimp.planning.review import NEXT

__all__ = ["claim", "deliver"]

_RECORD = "scores.json"


def claim(request: Any, inputs: str) -> None:
    """Make sure that ``out`` holds no finished run of other inputs, which the new one would replace.

    Args:
        request: the options of the verb; ``force`` gives up what is there.
        inputs: fingerprint of all that makes this run.

    Raises:
        WorkspaceError: if it does.
    """
    record = Path(request.out) / _RECORD
    if request.force or not record.exists():
        return
    try:
        found = Outcome.load(record)
    except DataError as error:
        raise WorkspaceError("holds a run whose record cannot be read", where=str(request.out),
                             why=error.why or error.what,
                             fix="give another folder as out, or force to replace what is there") from None
    if found.inputs != inputs:
        asked = ", ".join(f"{name} {value}" for name, value in found.asked.items() if isinstance(value, str | int))
        raise WorkspaceError("holds a finished run of other rows or options", where=str(request.out),
                             why=f"that run was asked for {asked or 'something else'}",
                             fix="give another folder as out, or force to replace that run")


def deliver(done: Path, request: Any) -> Outcome:
    """Put what the run left where the person asked for it this time; the record comes last."""
    out = Path(request.out)
    atomic_write(out / "ledger.jsonl", (done / "ledger.jsonl").read_bytes())
    (out / _RECORD).unlink(missing_ok=True)
    with atomic_folder(out / "model") as folder:
        shutil.copytree(done / "model", folder, dirs_exist_ok=True)
    (out / NEXT).unlink(missing_ok=True)
    if (done / NEXT).exists():
        atomic_write(out / NEXT, (done / NEXT).read_bytes())
    rows = next((shlex.quote(s) for s in (request.test, request.data) if isinstance(s, str)), "FILE")
    found = Outcome.load(done / _RECORD).model_copy(update={
        "reproduce": f"scrimp run {shlex.quote(str(out / 'recipe.yaml'))} --out AGAIN",
        "predict": f"scrimp predict {shlex.quote(str(out))} {rows}"})
    found.save(out / _RECORD)
    return found
