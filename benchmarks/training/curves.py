"""Whether both paths are one training: some hundred steps on the same rows in the same order, on each of them.

Sums are rounded differently by how rows lie beside each other, and training carries that on: how far is noise is shown
by the usual path beside itself, with micro-batches of another size.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training.workloads import tokens_of_posts
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.progress import quiet
from scrimp.examples.templates import Encoded
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.validation import mean_loss

__all__ = ["curves"]

_ROWS, _HELD_OUT, _LENGTH, _BATCH = 400, 60, 48, 4
_WAYS = {"fast": {"fast": True}, "usual": {"fast": False}, "usual, other micro-batches": {"fast": False,
                                                                                          "micro_tokens": _LENGTH}}


def curves(steps: int = 300) -> dict[str, Any]:
    """The losses of each step and the loss of held-out rows, by path; and how far apart they are."""
    found = {name: _trained(steps, options) for name, options in _WAYS.items()}
    usual = np.array(found["usual"]["losses"])
    apart = {name: float(np.abs(np.array(one["losses"]) - usual).mean()) for name, one in found.items()}
    return {"steps": steps, "runs": found, "mean_difference_from_usual": apart}


def _trained(steps: int, options: dict[str, Any]) -> dict[str, Any]:
    loaded = load(resolve("smollm2-135m"), dtype="bfloat16")
    stream = tokens_of_posts(loaded.tokenizer)
    rows = [Encoded(list(itertools.islice(stream, _LENGTH)), [True] * _LENGTH, row=n) for n in range(_ROWS + _HELD_OUT)]
    rows = [replace(row, ids=row.ids[:_LENGTH - n % 16], trained=row.trained[:_LENGTH - n % 16])
            for n, row in enumerate(rows)]
    plan = TunePlan.parse({"adapter": "lora", "rank": 8, "learning_rate": 3e-4, "steps": steps, "batch_size": _BATCH,
                           **options})
    model = plan.attach(loaded.model)
    with tempfile.TemporaryDirectory() as folder, quiet():
        done = plan.train(model, rows[:_ROWS], pad_id=loaded.pad_id, folder=Path(folder), meter=Meter())
    held_out = mean_loss(model, rows[_ROWS:], objective=plan.objective, pad_id=loaded.pad_id, micro_tokens=1024,
                         meter=Meter())
    return {"computed": done.computed, "losses": [round(point.loss, 5) for point in done.curve],
            "held_out": round(held_out, 5), "seconds": round(done.seconds, 1)}
