"""A point of a learning curve: what the trainer notes and the report draws. No torch here."""

from __future__ import annotations

from scrimp.core.options import Options

__all__ = ["CurvePoint"]


class CurvePoint(Options):
    """The state after an optimizer step.

    Attributes:
        step: updates made, this one included.
        seconds: of training, earlier attempts included.
        loss: of this step's batch before the update, in nats a trained token or row.
        learning_rate: of this update.
        validation: the loss on the validation rows after it, where it was measured; lower is better.
    """

    step: int
    seconds: float
    loss: float
    learning_rate: float
    validation: float | None = None
