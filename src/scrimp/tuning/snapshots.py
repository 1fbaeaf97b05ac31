"""Checkpoints of a run on disk: tensors as safetensors, the rest as JSON, both checked by their hashes when read.

Each is a folder of its own, written beside and renamed; the one before is kept until the next, so that a kill at any
moment leaves a whole one. One that is damaged nevertheless is passed over with a warning, for the one before or a new
start: that costs time and changes no result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scrimp.core.errors import WorkspaceError
from scrimp.core.progress import warn
from scrimp.core.workspace import atomic_folder, fingerprint

__all__ = ["Snapshot", "Snapshots", "optimizer_state", "restore_optimizer"]

_KEPT = 2
_FACTS, _TENSORS = "facts.json", "tensors.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """Tensors by name, and facts that JSON holds exactly."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with ``prefix.``, without it."""
        return {name[len(prefix) + 1:]: t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


@dataclass
class Snapshots:
    """The checkpoints of one run.

    Args:
        folder: made on the first save; other files in it are not touched.
        identity: fingerprint of what the run is made from; another run's checkpoints are refused.
    """

    folder: Path
    identity: str
    damaged: list[str] = field(default_factory=list)

    def save(self, snapshot: Snapshot) -> None:
        """Write one more and drop all but the last two.

        Raises:
            WorkspaceError: if it cannot be written; those before are whole then.
        """
        numbers = self._numbers()
        with atomic_folder(self.folder / f"{(numbers[-1] if numbers else 0) + 1:06d}") as partial:
            save_file(_apart(snapshot.tensors), partial / _TENSORS)
            body = {"identity": self.identity, "facts": snapshot.facts, "tensors": fingerprint(partial / _TENSORS)}
            (partial / _FACTS).write_text(json.dumps({**body, "check": fingerprint(body)}), encoding="utf-8")
        for number in self._numbers()[:-_KEPT]:
            shutil.rmtree(self.folder / f"{number:06d}", ignore_errors=True)

    def latest(self) -> Snapshot | None:
        """The newest whole one, or None; damaged ones are warned of and listed in ``damaged``.

        Raises:
            WorkspaceError: if it is of a run with other data, options or model.
        """
        for left_by_a_kill in self.folder.glob(".*"):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)
        for number in reversed(self._numbers()):
            path = self.folder / f"{number:06d}"
            try:
                return self._read(path)
            except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
                self.damaged.append(path.name)
                warn(f"{path} is damaged ({error}); it is passed over")
                shutil.rmtree(path, ignore_errors=True)
        return None

    def _read(self, path: Path) -> Snapshot:
        body = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        if not isinstance(body, dict) or body.pop("check") != fingerprint(body):
            raise ValueError(f"{_FACTS} does not match its hash")
        if body["identity"] != self.identity:
            raise WorkspaceError("this folder holds the training of other data, options or weights", where=str(path),
                                 fix="choose another folder, or delete this one")
        if not (path / _TENSORS).is_file() or fingerprint(path / _TENSORS) != body["tensors"]:
            raise ValueError(f"{_TENSORS} does not match its hash")
        return Snapshot(load_file(path / _TENSORS), body["facts"])

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdecimal() and p.is_dir())


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as the format wants them: contiguous, and copied where several share their memory."""
    places: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        shared = (place := tensor.untyped_storage().data_ptr()) in places
        apart[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
        places.add(place)
    return apart


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimizer's state as tensors (named ``index.key``; where they are on the CPU, no copies) and facts.

    Raises:
        WorkspaceError: if it holds what is neither a tensor nor plain JSON.
    """
    whole = optimizer.state_dict()
    tensors, plain = {}, {}
    for index, entries in whole["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu()
            else:
                plain[f"{index}.{key}"] = value
    facts = {"groups": whole["param_groups"], "plain": plain}
    try:
        json.dumps(facts)
    except TypeError as error:
        raise WorkspaceError(f"the state of {type(optimizer).__name__} cannot be saved", why=str(error),
                             fix="keep tensors, numbers and text in an optimizer's state") from None
    return tensors, facts


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor],
                      facts: Mapping[str, Any]) -> None:
    """Put back what `optimizer_state` took; step counts keep their own type."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **facts["plain"]}.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
