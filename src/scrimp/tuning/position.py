"""Where a run stands."""

from __future__ import annotations

from pydantic import BaseModel

from scrimp.tuning.curve import CurvePoint
from scrimp.tuning.options import StoppedBy
from scrimp.tuning.pace import Pace

__all__ = ["Position"]


class Position(BaseModel):
    """All that a continuation needs beside tensors and random states."""

    first_plan: int
    planned: int
    micro_tokens: int
    step: int = 0
    cut_by: StoppedBy | None = None
    stopped_by: StoppedBy | None = None
    rewinds: int = 0
    slowed: float = 1.0
    seconds: float = 0.0
    tokens: int = 0
    validated_at: int = -1
    validation_before: float | None = None
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    pace: Pace = Pace()
    curve: list[CurvePoint] = []
    warnings: list[str] = []
