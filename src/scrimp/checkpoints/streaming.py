"""Weights too large for memory: read a tensor when it is asked for, write it when it is there.

A model folder is read through the headers of its safetensors files; pickled weights are refused as everywhere. What is
written goes to disk tensor by tensor, in files that plain safetensors and transformers load.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from scrimp.checkpoints.validation import CONFIG, INDEX, WEIGHTS, read_object, refusing, tensors, weight_files
from scrimp.core.errors import ModelError

__all__ = ["FolderWeights", "distinct", "write_weights"]

_SHARD_BYTES = 5_000_000_000
_HEADER_BYTES = 1 << 16  # kept free at the head of a file for what is known only at its end: names, types, places
_TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
          torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


class FolderWeights(Mapping[str, torch.Tensor]):
    """The tensors of a model folder by name, each read from its file when it is asked for and not kept.

    A name that the model's configuration ties to another (an output layer to the embeddings) is left out where the
    other is there, as transformers leaves it out when it saves: a folder may hold both.

    Raises:
        ModelError: no weights there, pickled ones, or damaged ones (see `validation`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        held = {name: path for path in weight_files(self.folder) for name in tensors([path])}
        tied = _tied(self.folder)
        self._files = {name: path for name, path in held.items() if tied.get(name) not in held}

    def __getitem__(self, name: str) -> torch.Tensor:
        from safetensors import safe_open

        path = self._files[name]
        with refusing("is damaged or no safetensors file", path), safe_open(path, framework="pt") as opened:
            return opened.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files  # the mapping's own would read the tensor


def _tied(folder: Path) -> dict[str, str]:
    """Names of tensors that are one with another in this folder's architecture, and which."""
    if not (folder / CONFIG).is_file() or not read_object(folder / CONFIG).get("tie_word_embeddings", True):
        return {}
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    with refusing("the model's settings cannot be read", folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not getattr(config, "tie_word_embeddings", True):
        return {}
    return getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], "_tied_weights_keys", None) or {}


def distinct(model: Any) -> dict[str, torch.Tensor]:
    """The tensors that saving ``model`` writes: of those that share their memory, the first name alone."""
    found: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if place not in seen or not tensor.numel():
            found[name] = tensor
        seen.add(place)
    return found


def write_weights(folder: Path, named: Iterable[tuple[str, torch.Tensor]], *, shard_bytes: int = _SHARD_BYTES) -> None:
    """Write tensors as safetensors files of about ``shard_bytes`` and their index; one tensor is in memory at a time.

    ``folder`` should be one that is not in use yet (`core.workspace.atomic_folder`): a reader of a file that is being
    written finds no header in it.

    Raises:
        ModelError: a name that comes twice, or a type that safetensors does not have.
    """
    shards: list[dict[str, Any]] = []
    names = iter(named)
    following = next(names, None)
    while following is not None:
        with (folder / f".shard-{len(shards)}").open("wb") as file:
            header, following = _fill(file, following, names, shard_bytes, {n for shard in shards for n in shard})
        shards.append(header)
    if not shards:
        raise ModelError("there is no tensor to write", where=str(folder))
    _name_files(folder, shards)


def _fill(file: BinaryIO, first: tuple[str, torch.Tensor], rest: Iterator[tuple[str, torch.Tensor]], most: int,
          written: set[str]) -> tuple[dict[str, Any], tuple[str, torch.Tensor] | None]:
    """One file: at least ``first``, then as many as fit; its header, and what did not fit."""
    header: dict[str, Any] = {}
    following: tuple[str, torch.Tensor] | None = first
    file.seek(8 + _HEADER_BYTES)
    end = 0
    while following is not None:
        name, tensor = following
        entry, size = _entry(name, tensor, end)
        full = len(_written(header | {name: entry})) > _HEADER_BYTES
        if header and (full or end + size > most):
            break
        if full or name in header or name in written:
            raise ModelError("this tensor comes twice, or its name is endless", where=name[:100])
        header[name], end = entry, end + size
        file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        following = tensor = None  # type: ignore[assignment] # let go of it before the next is made
        following = next(rest, None)
    file.seek(0)
    file.write(_HEADER_BYTES.to_bytes(8, "little") + _written(header).ljust(_HEADER_BYTES))
    return header, following


def _entry(name: str, tensor: torch.Tensor, start: int) -> tuple[dict[str, Any], int]:
    if tensor.dtype not in _TYPES:
        raise ModelError(f"safetensors files of models hold no {tensor.dtype}", where=name)
    size = tensor.numel() * tensor.element_size()
    return {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, start + size]}, size


def _written(header: Mapping[str, Any]) -> bytes:
    return json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()


def _name_files(folder: Path, shards: list[dict[str, Any]]) -> None:
    """Give the files the names by which they are looked for, and write the index if there are several."""
    if len(shards) == 1:
        (folder / ".shard-0").replace(folder / WEIGHTS)
        return
    names = [f"model-{place:05}-of-{len(shards):05}.safetensors" for place in range(1, len(shards) + 1)]
    for place, name in enumerate(names):
        (folder / f".shard-{place}").replace(folder / name)
    size = sum(entry["data_offsets"][1] - entry["data_offsets"][0] for shard in shards for entry in shard.values())
    places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
