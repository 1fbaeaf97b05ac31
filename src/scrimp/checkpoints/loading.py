"""From a name to a model in memory: a hub id, a folder, a GGUF file or an asset's name.

Safetensors only, code from strangers never, and nothing is left to chance: a tensor that the file does not hold would
be random numbers, so a missing tensor is an error and not a warning.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import yaml

from scrimp.checkpoints.conversion import convert_gguf
from scrimp.checkpoints.validation import CONFIG, INDEX, Kind, quiet, refusing, tensors, validate, weight_files
from scrimp.core.assets import HUB_IGNORED, HUB_PATTERNS, digest, known, obtain, offline_hub
from scrimp.core.errors import ModelError, nearest
from scrimp.core.memory import check_room
from scrimp.core.progress import say
from scrimp.core.workspace import fingerprint

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Checkpoint", "Dtype", "Loaded", "fast_bf16", "load", "resolve"]

Dtype = Literal["auto", "float32", "bfloat16"]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_LARGEST = 2.0**62  # of a weight: the square of what is larger is beyond all floats, and a norm takes squares
_SMALL = 1 << 24  # numbers, such as tables that are computed, which cost nothing much
_TOKENIZER_FILES = ("tokenizer*.json", "tokenizer*.model", "vocab.*", "merges.txt", "special_tokens_map.json",
                    "added_tokens.json", "chat_template.jinja", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder that has been checked.

    Attributes:
        name: as it was asked for.
        path: the folder.
        kind: ``"causal"`` or ``"encoder"``.
        fingerprint: sha256 over settings, weights and tokenizer: the same in every place the folder is copied to.
        licence: as the asset table or the folder's model card states it.
    """

    name: str
    path: Path
    kind: Kind
    fingerprint: str
    licence: str | None = None


@dataclass(frozen=True)
class Loaded:
    """A model in memory, in evaluation mode, with its tokenizer.

    Attributes:
        dtype: ``"float32"`` or ``"bfloat16"``: of the model's weights.
    """

    model: PreTrainedModel | Any
    tokenizer: PreTrainedTokenizerBase | Any
    checkpoint: Checkpoint
    dtype: str

    @property
    def kind(self) -> Kind:
        """``"causal"`` or ``"encoder"``."""
        return self.checkpoint.kind

    @property
    def pad_id(self) -> int:
        """The token that fills up a batch. It may be the end token too: mask by attention, never by this id."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return token
        return 0

    @property
    def parameters(self) -> int:
        """How many numbers the model has."""
        from scrimp.checkpoints.quantized import weights_in

        return weights_in(self.model.parameters())

    def with_model(self, model: Any) -> Loaded:
        """The same in every respect but with ``model``: an adapted form of it."""
        return replace(self, model=model)


def resolve(name: str | Path) -> Checkpoint:
    """Find a model and check it, loading nothing.

    Args:
        name: an asset's name (``smollm2-135m``), a folder, a ``.gguf`` file, or a hub id (``owner/model``).

    Raises:
        ModelError: not found, or not safe or not whole (see `validation.validate`).
        AssetError: an asset that cannot be obtained.
    """
    text, path = str(name), Path(os.path.expanduser(name))
    assets = {asset.name: asset for asset in known() if asset.kind == "model"}
    if text in assets:
        return _checked(text, obtain(text), assets[text].licence)
    if os.path.isdir(path):  # unlike the methods of Path, these never raise, whatever was typed
        return _checked(text, path.absolute())
    if os.path.isfile(path):
        return _checked(text, _converted(path))
    if _HUB_ID.fullmatch(text):
        return _checked(text, _from_hub(text))
    raise ModelError(f"no model is named '{text}'", why="it is no asset, folder, .gguf file or hub id (owner/model)",
                     fix=nearest(text, assets))


def _checked(name: str, folder: Path, licence: str | None = None) -> Checkpoint:
    with refusing("cannot be read", folder):
        if not (folder / CONFIG).exists() and (file := _only_gguf(folder)):
            folder = convert_gguf(file)
        kind = validate(folder)
        return Checkpoint(name, folder, kind, _fingerprint(folder), licence or _stated_licence(folder))


def _only_gguf(folder: Path) -> Path | None:
    files = sorted(folder.glob("*.gguf"))
    if len(files) > 1:
        raise ModelError(f"holds {len(files)} GGUF files", where=str(folder), fix=f"name one, such as {files[0]}")
    return files[0] if files else None


def _converted(path: Path) -> Path:
    if path.suffix.lower() != ".gguf":
        raise ModelError("is a file and no model folder", where=str(path),
                         fix="name the folder that holds config.json and model.safetensors, or a .gguf file")
    return convert_gguf(path)


def _from_hub(repository: str) -> Path:
    """The snapshot in the hub's own cache, brought up to date unless ``HF_HUB_OFFLINE`` is set."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    offline = offline_hub()
    if not offline:
        say(f"asking the hub for {repository}")
    try:
        with refusing("the hub cannot give this model", repository, fix="check name and network, or name a folder"):
            return Path(snapshot_download(repository, local_files_only=offline, allow_patterns=list(HUB_PATTERNS),
                                          ignore_patterns=list(HUB_IGNORED)))
    except ModelError as error:
        if offline and isinstance(error.__context__, LocalEntryNotFoundError):
            raise ModelError("this model is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
                             where=repository, fix="unset HF_HUB_OFFLINE, name a folder, or take one of: "
                                                   + ", ".join(a.name for a in known() if a.kind == "model")) from None
        raise


def _fingerprint(folder: Path) -> str:
    named = {path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)}
    files = sorted({folder / CONFIG, *weight_files(folder), *named})
    return fingerprint({path.name: digest(path) for path in files if path.name != INDEX})


def _stated_licence(folder: Path) -> str | None:
    """The ``license`` in the front matter of the folder's model card."""
    try:
        _, front, _ = (folder / "README.md").read_text(encoding="utf-8", errors="replace").split("---", 2)
        stated = yaml.safe_load(front)["license"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return None  # no card, or a card that states none
    return stated if isinstance(stated, str) else None


def load(checkpoint: Checkpoint, *, dtype: Dtype = "auto") -> Loaded:
    """Load a checked model and its tokenizer into memory, in evaluation mode.

    Args:
        checkpoint: from `resolve`.
        dtype: of the weights; ``auto`` is bfloat16 where the machine is fast at it, else float32.

    Raises:
        ModelError: whatever keeps it from loading; weights that are missing, left over or not finite; a tokenizer with
            more tokens than the model has embeddings.
        BudgetError: see `scrimp.core.memory.check_room`.
    """
    import torch

    check_room()
    chosen = ("bfloat16" if fast_bf16() else "float32") if dtype == "auto" else dtype
    with quiet(), refusing("the model cannot be loaded", checkpoint.path):
        tokenizer = _tokenizer(checkpoint.path)
        model, report = _model(checkpoint, getattr(torch, chosen))
    _check_complete(checkpoint, model, report)
    _check_finite(checkpoint, model)
    _check_vocabulary(checkpoint, model, tokenizer)
    return Loaded(model.eval(), tokenizer, checkpoint, chosen)


@lru_cache(maxsize=1)
def fast_bf16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return any(able.get(unit, False) for unit in ("avx512_bf16", "amx_bf16", "bf16"))


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _model(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model and transformers' account of which tensors it found."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
    cls: Any = (MODEL_FOR_CAUSAL_LM_MAPPING if checkpoint.kind == "causal" else MODEL_MAPPING)[type(config)]
    pooling = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}
    _check_room(checkpoint, config, lambda: cls(config, **pooling))
    return cls.from_pretrained(
        checkpoint.path, config=config, dtype=dtype, local_files_only=True, use_safetensors=True,
        # said here, since a config could name an implementation to be fetched
        attn_implementation="sdpa" if cls._supports_sdpa else "eager",
        output_loading_info=True, **pooling)


def _check_room(checkpoint: Checkpoint, config: Any, make: Callable[[], nn.Module]) -> None:
    """Refuse settings that make a far larger model than the files hold, before memory is taken for it."""
    import torch

    stored = tensors(weight_files(checkpoint.path))
    held, needed = sum(math.prod(shape) for _, shape in stored.values()), math.inf
    if getattr(config.get_text_config(), "num_hidden_layers", 0) <= len(stored):
        with torch.device("meta"):
            model = make()
        needed = sum(value.numel() for value in (*model.parameters(), *model.buffers()))
    if needed > 2 * held + _SMALL:
        raise ModelError("the config describes a far larger model than the weights hold", where=str(checkpoint.path),
                         why=f"{needed:.3g} numbers against {held:.3g}",
                         fix="take the folder as its authors published it")


def _check_complete(checkpoint: Checkpoint, model: PreTrainedModel, report: dict[str, Any]) -> None:
    missing = sorted(map(str, report["missing_keys"]))
    left = sorted(key for key in map(str, report["unexpected_keys"])
                  if checkpoint.kind == "causal" or not _of_a_head(key, model.base_model_prefix, checkpoint))
    wrong = [f"{len(names)} tensors {state}, such as {names[0]}"
             for names, state in ((missing, "are missing"), (left, "have no place in it")) if names]
    if wrong:
        raise ModelError("the weights do not fit the architecture", where=str(checkpoint.path), why="; ".join(wrong),
                         fix="take the folder as its authors published it")


def _of_a_head(key: str, prefix: str, checkpoint: Checkpoint) -> bool:
    """Whether a tensor belongs to what stands on an encoder (a pooler, a classifier), which is not wanted."""
    inner = key.removeprefix(f"{prefix}.")
    prefixed = any(name.startswith(f"{prefix}.") for name in tensors(weight_files(checkpoint.path)))
    return inner.startswith("pooler.") or (prefixed and inner == key)


def _check_finite(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    import torch

    for name, value in model.named_parameters():
        low, high = torch.aminmax(value.detach())  # in which NaN stays
        if not max(-float(low), float(high)) < _LARGEST:
            raise ModelError(f"'{name}' holds NaN or infinite numbers, or some whose squares are",
                             where=str(checkpoint.path), fix="download the model again, or take another")


def _check_vocabulary(checkpoint: Checkpoint, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = cast("torch.Tensor", model.get_input_embeddings().weight).shape[0]
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ModelError("the tokenizer's 'model_max_length' is no number", where=str(checkpoint.path),
                         fix="take the folder as its authors published it")
    if not 0 <= highest < rows:
        raise ModelError(f"the tokenizer's ids go up to {highest}, the model has {rows} embeddings",
                         where=str(checkpoint.path), fix="use the tokenizer that belongs to this model")
