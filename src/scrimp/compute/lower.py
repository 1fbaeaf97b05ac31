"""What the layers below the lowest that moves make of rows: the same in every epoch, so computed once and kept."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scrimp.compute.forest import Forest
from scrimp.compute.replacing import is_replaced

if TYPE_CHECKING:
    from scrimp.compute.decoder import Packed

__all__ = ["Lower", "lowest_moving"]

_SHARE = 10  # of the disk's free bytes at most the one of so many


def lowest_moving(body: Any) -> int:
    """How many layers of a decoder, the last never among them, stand below the first that may change by the next epoch.

    0 if anything beside the layers may: embeddings that move, or to which a hook adds noise.
    """
    layers: Sequence[nn.Module] = getattr(body, "layers", ())
    beside = [child for child in body.children() if child is not layers]
    if not all(map(_is_steady, beside)) or any(map(is_replaced, layers)):
        return 0
    changing = (number for number, layer in enumerate(layers) if not _is_steady(layer))
    return next(changing, max(len(layers) - 1, 0))


def _is_steady(part: nn.Module) -> bool:
    """Whether nothing in it moves, drops out, or is in the hands of somebody else."""
    return not any(p.requires_grad for p in part.parameters()) and not any(
        module._forward_hooks or module._forward_pre_hooks or is_replaced(module)
        or (isinstance(module, nn.Dropout) and module.p > 0) for module in part.modules())


class Lower:
    """The states with which rows enter the lowest layer that moves, in a file.

    States of a row that were computed beside others differ in the last bits. So a row is always computed with those of
    its portion, whichever of them is asked for first: a run that was killed and starts its file anew meets the same
    states to the bit. The file has no name and ends with the process. It is written by plain writes, since a full disk
    is an error to these and the end of the process to a mapping, and mapped for as long as a forest's states are read,
    so that what was read does not count as memory of the process.

    Args:
        path: the decoder's; on it stand some layers below the lowest that moves.
        portions: rows int64 [length] that are computed together, each row in one of them at least.
        folder: where the file is.
        warn: is told why states are kept no more. Everything is then computed in each epoch, as if there were no file.

    Attributes:
        seconds: that were spent on what is in the file.
    """

    def __init__(self, path: Packed, portions: Sequence[Sequence[np.ndarray]], folder: Path,
                 warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn
        self._portions = dict(enumerate(portions))
        self._home: dict[bytes, int] = {}
        self._places: dict[bytes, np.ndarray] = {}  # in the file, in tokens
        self._dtype, self._width = torch.float32, 0  # of a token's states; the width in bytes
        self._known = self._left = 0  # tokens of rows whose states are in the file, and are not
        self._written = 0  # tokens in the file
        self.seconds = 0.0
        for number, portion in self._portions.items():
            for row in portion:
                if _key(row) not in self._home:
                    self._home[_key(row)] = number
                    self._left += len(row)
        self._file: Any = None
        try:
            self._file = self._opened(folder)
        except OSError as error:
            self._give_up(error)

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def rest_s(self) -> float:
        """Seconds that what is not in the file yet will take, as long as those before."""
        return self.seconds / self._known * self._left if self._known else 0.0

    def states(self, rows: Sequence[np.ndarray], forest: Forest, device: torch.device) -> torch.Tensor | None:
        """The states [T, H] of a forest's tokens, or None where they are not kept.

        Args:
            rows: int64 [length], of which the forest was made.
            forest: of these rows.
            device: of the states.
        """
        keys = [_key(row) for row in rows]
        if not self.is_kept or any(key not in self._home for key in keys):
            return None
        try:
            for number in dict.fromkeys(self._home[key] for key in keys if key not in self._places):
                self._compute(number, device)
            kept = np.memmap(self._file, np.uint8, "r", shape=(self._written, self._width))
        except OSError as error:
            self._give_up(error)
            return None
        tokens = np.empty(len(forest.ids), np.int64)
        for key, places in zip(keys, forest.places, strict=True):
            tokens[places] = self._places[key]
        return torch.from_numpy(np.asarray(kept)[tokens]).view(self._dtype).to(device)

    def close(self) -> None:
        """Give the file's bytes back."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # of a full disk again: it is closed nevertheless
                self._file.close()
        self._file = None

    def _compute(self, number: int, device: torch.device) -> None:
        """Append the states of a portion's rows to the file, of what they begin with in common once."""
        began, portion = time.monotonic(), self._portions[number]
        forest = Forest.of(portion)
        states = self._path.entering(forest, device).cpu()
        octets = states.view(torch.uint8).numpy()
        self._file.write(octets.data)
        self._file.flush()
        for row, places in zip(portion, forest.places, strict=True):
            if self._home[_key(row)] == number and _key(row) not in self._places:
                self._places[_key(row)] = self._written + places
                self._known, self._left = self._known + len(row), self._left - len(row)
        self._dtype, self._width, self._written = states.dtype, octets.shape[1], self._written + len(octets)
        del self._portions[number]
        self.seconds += time.monotonic() - began

    def _opened(self, folder: Path) -> Any:
        body = self._path.body
        width = body.config.hidden_size * next(body.parameters()).element_size()
        folder.mkdir(parents=True, exist_ok=True)
        needed, free = self._left * width, shutil.disk_usage(folder).free
        if _SHARE * needed > free:
            raise OSError(f"they may take {needed >> 20} MiB, and {free >> 20} MiB of disk are free")
        return tempfile.TemporaryFile(dir=folder)

    def _give_up(self, error: OSError) -> None:
        self.close()
        self._warn("states below the lowest layer that moves are not kept, but computed in each epoch: "
                   f"{error.strerror or error}")


def _key(row: np.ndarray) -> bytes:
    return blake2b(row.tobytes(), digest_size=16).digest()
