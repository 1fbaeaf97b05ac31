"""What a run is told, and what it tells."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from scrimp.core.options import Options, Seconds
from scrimp.tuning.curve import CurvePoint

__all__ = ["StoppedBy", "TrainOptions", "TrainResult"]

StoppedBy = Literal["plan", "patience", "time", "tokens", "memory"]


class TrainOptions(Options):
    """How long, in what portions, and how carefully.

    Attributes:
        epochs: passes over the data.
        steps: optimizer steps instead of epochs.
        batch_size: examples of an optimizer step.
        micro_tokens: padded tokens that are computed at once; a step is cut into as many parts as this needs, which
            changes memory and speed but not the result beyond rounding.
        seed: of the data's order, new weights and dropout.
        patience: validations without a new best before the run stops.
        validate_every: steps between validations; an epoch if left out.
        checkpoint_every_s: seconds between checkpoints.
        checkpoint_every_steps: steps between checkpoints, in place of seconds.
        reserve_s: seconds of the time budget to leave for what comes after.
        fast: compute a decoder of a known family without padding, what rows begin with in common once, the layers below
            the lowest that moves once in all epochs, and by parts that keep less, which gives the same to rounding. If
            left out, where that was measured: on processors.
        recompute: keep of each layer its input only and compute the rest again in the backward pass, which changes no
            bit: a third more computing for the memory of all layers but one.
        step_in_backward: move each tensor as soon as its gradient is there, so that gradients, as large as what moves,
            are never all held; it changes no bit. A step is one part then: ``micro_tokens`` must hold it whole, for
            what is summed up over several parts would be held. Norms over several tensors cannot be clipped.
    """

    epochs: int = Field(default=3, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=8, ge=1)
    micro_tokens: int = Field(default=1024, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    patience: int | None = Field(default=None, ge=1)
    validate_every: int | None = Field(default=None, ge=1)
    checkpoint_every_s: Seconds = 30.0
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    reserve_s: float = Field(default=0.0, ge=0)
    fast: bool | None = None
    recompute: bool = False
    step_in_backward: bool = False

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and "epochs" in self.model_fields_set:
            raise ValueError("give 'epochs' or 'steps', not both")
        return self


class TrainResult(Options):
    """What a run did. The model it was given holds the best weights now.

    Attributes:
        curve: a point for each step.
        steps: updates made.
        planned: updates planned at first, before any budget cut them.
        stopped_by: "plan" if all planned steps were made; else what ended or cut it.
        best_step: updates behind the weights that were kept; the last without ``validate``, 0 if none was better
            than the start.
        validation_before, validation: before the first step, and of the weights that were kept.
        seconds: of training, earlier attempts included.
        tokens: trained on, without padding, repetitions counted.
        trainable: parameters that moved.
        computed: on which path, and with which kernels, or why on the usual one.
        warnings: for the person.
    """

    curve: tuple[CurvePoint, ...]
    steps: int
    planned: int
    stopped_by: StoppedBy
    best_step: int
    validation_before: float | None
    validation: float | None
    seconds: float
    tokens: int
    trainable: int
    computed: str
    warnings: tuple[str, ...]
