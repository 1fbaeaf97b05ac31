"""Ways to change the files of a model folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def edit_json(path: Path, **changes) -> None:
    """Set keys of a JSON object; None takes the key out."""
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    tensors = change(load_file(path))
    path.unlink()
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata={"format": "pt"})
