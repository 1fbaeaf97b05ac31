"""What is wrong with how a model is asked."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from tests.torture.faults.data import RENDER, rendered
from tests.torture.faults.planting import FOUND, At, Fault, by, planted, tensors

__all__ = ["SERVING"]


def _serves_otherwise(at: At) -> Any:
    """What serves writes a blank that training did not."""
    import scrimp

    run = at.run("sums")

    def one_more(ids: list[int], trained: list[bool]) -> tuple[list[int], list[bool]]:
        return [ids[0], 5, *ids[1:]], [trained[0], False, *trained[1:]]

    with planted(RENDER, rendered(one_more)):
        return scrimp.predict(run, [{"prompt": "1 + 1 ="}])


def _in_training_mode(evaluating: Any) -> Any:
    @contextlib.contextmanager
    def wrong(model: Any) -> Iterator[None]:
        with evaluating(model):
            model.train()
            yield

    return wrong


def _gathered(at: At) -> Any:
    from scrimp.serving.hosting import gather

    served = at.folder / "served"
    shutil.copytree(at.good / "runs" / "labels", served / "labels")
    shutil.copytree(at.good / "runs" / "sums", served / "sums")
    tensors(served / "labels" / "model" / "adapter_model.safetensors",
             lambda held: {name: value + 0.3 for name, value in held.items()})
    return gather(served, dtype="float32", rows=4, context=64)


def _adapters_shifted(rows: Any) -> Any:
    def wrong(self: Any, names: Sequence[Any]) -> Any:
        names = list(names)
        return rows(self, names[1:] + names[:1])

    return wrong


SERVING: tuple[Fault, ...] = (
    Fault("serving writes other tokens than training", _serves_otherwise, "scrimp.serving.language",
          "other tokens than in training"),
    Fault("dropout is on when a model is asked",
          by("scrimp.serving.scoring:evaluating", _in_training_mode, lambda at: at.tune(dropout=0.5)), FOUND,
          "predicts something else"),
    Fault("rows of one batch have each other's adapter",
          by("scrimp.compute.mixed:MixedAdapters.rows", _adapters_shifted, _gathered),
          "scrimp.serving.continuous.RunningBatch.check", "together than alone"),
)
