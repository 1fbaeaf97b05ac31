"""A run that kills itself: `killable.py MODEL FOLDER OUT WHERE DROPOUT TOP_LAYERS`.

WHERE is "loss:7", "save:2" or "never".
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from scrimp.core.budget import Meter
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.tuning import snapshots
from scrimp.tuning.adapters import trainable
from scrimp.tuning.objectives import SFT
from scrimp.tuning.trainer import TrainOptions, train


def deadly(function: Callable, calls: int) -> Callable:
    """``function``, but its last of ``calls`` calls is the end of the process."""
    left = [calls]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


def run(model_folder: Path, folder: Path, *, dropout: float, top_layers: int) -> dict[str, torch.Tensor]:
    """Twelve steps in micro-batches, four epochs, with validation; returns the weights."""
    torch.set_num_threads(1)
    data = [Encoded(ids=[10 + i % 2, *range(20, 25 + i), 100 + i % 2, 2], trained=[False] * (6 + i) + [True] * 2,
                    target=None, row=i, truncated=False) for i in range(10)]
    options = TrainOptions(steps=12, batch_size=4, micro_tokens=40, validate_every=5, checkpoint_every_steps=2)
    adapter = build("adapter", "lora", {"dropout": dropout, "top_layers": top_layers})
    model = adapter.attach(AutoModelForCausalLM.from_pretrained(model_folder))
    train(model, data, pad_id=0, objective=build("objective", "sft"), optimizer=build("optimizer", "adamw"),
          schedule=build("schedule", "wsd"), options=options, folder=folder, meter=Meter(),
          validate=lambda: -float(sum(p.detach().abs().sum() for p in trainable(model).values())))
    return {name: p.detach().clone() for name, p in trainable(model).items()}


if __name__ == "__main__":
    place, _, number = sys.argv[4].partition(":")
    if place == "loss":
        SFT.loss = deadly(SFT.loss, int(number))  # type: ignore[method-assign]
    elif place == "save":  # after the tensors are written, before the facts are
        snapshots.fingerprint = deadly(snapshots.fingerprint, int(number))  # type: ignore[attr-defined]
    moved = run(Path(sys.argv[1]), Path(sys.argv[2]), dropout=float(sys.argv[5]), top_layers=int(sys.argv[6]))
    save_file(moved, sys.argv[3])
