"""Workspaces with runs in all states, made of records that the report's tests have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scrimp.core.ledger import Ledger
from scrimp.core.workspace import Workspace
from scrimp.evaluation.outcome import Outcome

__all__ = ["ASKED", "begun", "finished"]

ASKED = {"data": "rows/reviews.csv", "test": None, "model": "smollm2-135m", "budget": {"time": 60.0}, "seed": 3}


def finished(root: Path, outcome: Outcome, *, kind: str = "fit", test: str | None = "same", metric: str = "accuracy",
             seed: int = 0, train: str = "rows") -> str:
    """A finished run; its name."""
    def make(folder: Path) -> None:
        ledger = Ledger(folder / "ledger.jsonl")
        ledger.write("attempt", asked=ASKED)
        ledger.write("rung", name="lora", wall_s=2.0)
        outcome.model_copy(update={"asked": {**ASKED, "metric": metric}}).save(folder / "scores.json")

    inputs = {"asked": {"seed": seed}, "train": train, "test": test, "what": repr(outcome)}
    return Workspace(root).step(kind, inputs, make).name


def begun(root: Path, name: str = "tune-0123", **asked: Any) -> Ledger:
    """The ledger of a run that is not finished."""
    ledger = Ledger(root / f"{name}.partial" / "ledger.jsonl")
    Workspace(root)
    ledger.write("attempt", asked={**ASKED, **asked})
    return ledger
