"""Merging what lies on disk: from model folders and adapters to a folder that plain transformers loads.

Tensors are read, merged and written one at a time, so that models larger than memory can be merged; only the check at
the end, which runs the result, holds it whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from scrimp.checkpoints.exporting import (
    ADAPTER_CONFIG,
    check_parity,
    load_adapter,
    logits_of,
    merge,
    save_merged,
)
from scrimp.checkpoints.loading import Checkpoint, load, resolve
from scrimp.checkpoints.streaming import FolderWeights, write_weights
from scrimp.checkpoints.validation import CONFIG, quiet, refusing
from scrimp.core.errors import ModelError
from scrimp.core.progress import track
from scrimp.core.workspace import atomic_folder, atomic_write, scratch
from scrimp.surgery.merging.base import Merge

__all__ = ["merge_folders"]

#: settings that change nothing of what a model computes
_HARMLESS = {"_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "initializer_range",
             "pad_token_id", "torch_dtype", "transformers_version", "use_cache"}
_PROBES = ("The quick brown fox jumps over the lazy dog.", "What is 17 plus 25? 17 plus 25 is 42.",
           "def area(radius):\n    return 3.14159 * radius ** 2", "Übrigens: das Wetter bleibt schön, 20 °C.")


@dataclass(frozen=True)
class _Part:
    """One of the models: the name that was asked for, the checked folder, its tensors, and what is on top of a base."""

    name: str
    checkpoint: Checkpoint
    weights: FolderWeights
    is_adapter: bool = False


def merge_folders(method: Merge, models: Sequence[str], out: Path, *, base: str | None = None, seed: int = 0) -> Path:
    """Merge models into the folder ``out``, which comes to be only when all is written and checked.

    Tokenizer, settings and precision are the first model's; of an adapter, those of its base.

    Args:
        models: folders, runs of scrimp, adapters of ``base``, asset names or hub ids.

    Raises:
        ModelError: models that differ in architecture, settings or vocabulary; an adapter or a method that needs a base
            where none is given.
        GuardError: what was written computes something else than what was merged.
    """
    out = Path(out)
    with atomic_folder(out) as folder, scratch(out) as adapted:
        root = _part(base) if base else None
        parts = [_opened(name, root, adapted / str(place)) for place, name in enumerate(models)]
        everyone = [*parts, *([root] if root else [])]
        _check_settings(everyone)
        _check_vocabularies(everyone)
        write_weights(folder, track(_merged(method, parts, root, seed), "merging", len(everyone[0].weights)))
        _write_settings(parts[0].checkpoint, folder)
        atomic_write(folder / "README.md", _card(method, parts, root, seed))
        _check_written(folder, dict(_merged(method, parts, root, seed)))
    return out


def _part(name: str) -> _Part:
    checkpoint = resolve(name)
    return _Part(name, checkpoint, FolderWeights(checkpoint.path))


def _opened(name: str, base: _Part | None, target: Path) -> _Part:
    """A model as it is, the model of a run, or an adapter put on its base in float32."""
    folder = Path(name).expanduser()
    if not (folder / CONFIG).exists() and (folder / "model").is_dir():
        folder = folder / "model"
    if not (folder / ADAPTER_CONFIG).exists():
        return _part(str(folder) if folder.is_dir() else name)
    if base is None:
        raise ModelError("is an adapter, and the base that it belongs on is not named", where=name,
                         fix="name the model that it was trained on as base")
    adapted = load_adapter(load(base.checkpoint, dtype="float32"), folder)
    save_merged(merge(adapted), target)
    return _Part(name, resolve(target), FolderWeights(target), is_adapter=True)


def _merged(method: Merge, parts: Sequence[_Part], base: _Part | None,
            seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The merged tensors, in the precision of the first model, or of the base where the first is an adapter."""
    first, root = parts[0], base.weights if base else None
    for name, tensor in method.apply([part.weights for part in parts], base=root, seed=seed):
        yield name, tensor.to(root[name].dtype) if first.is_adapter and root else tensor


def _check_settings(parts: Sequence[_Part]) -> None:
    """Models of one shape may still compute differently: other numbers of heads, another rotation, another norm."""
    from transformers import AutoConfig

    told = []
    for part in parts:
        with quiet(), refusing("the model's settings cannot be read", part.name):
            config = AutoConfig.from_pretrained(part.checkpoint.path, local_files_only=True, trust_remote_code=False)
            told.append({key: value for key, value in config.to_dict().items() if key not in _HARMLESS})
    for part, settings in zip(parts[1:], told[1:], strict=True):
        odd = sorted(key for key in settings.keys() | told[0].keys() if settings.get(key) != told[0].get(key))
        if odd:
            raise ModelError(f"differs from {parts[0].name} in '{odd[0]}'", where=part.name,
                             why=f"{settings.get(odd[0])!r:.60} against {told[0].get(odd[0])!r:.60}",
                             fix="merge models that were tuned from one base")


def _check_vocabularies(parts: Sequence[_Part]) -> None:
    """A row of the embeddings must stand for one token in all models."""
    known = []
    for part in parts:
        with quiet(), refusing("the tokenizer cannot be read", part.name):
            known.append(_tokenizer(part.checkpoint).get_vocab())
    for part, vocabulary in zip(parts[1:], known[1:], strict=True):
        if odd := sorted(vocabulary.items() ^ known[0].items()):
            raise ModelError(f"has another vocabulary than {parts[0].name}", where=part.name,
                             why=f"{len(odd)} entries differ, such as {odd[0][0]!r:.40}",
                             fix="merge models of one tokenizer")


def _write_settings(first: Checkpoint, folder: Path) -> None:
    """Everything beside the weights, as the first model has it."""
    shutil.copyfile(first.path / CONFIG, folder / CONFIG)
    if (first.path / "generation_config.json").is_file():
        shutil.copyfile(first.path / "generation_config.json", folder / "generation_config.json")
    with quiet(), refusing("the tokenizer cannot be written", folder):
        _tokenizer(first).save_pretrained(folder)


def _tokenizer(checkpoint: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)


def _check_written(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """The folder, loaded as anyone loads it, against the same merge put into a model without a detour over the disk."""
    written = load(resolve(folder.absolute()), dtype="float32")
    probes = [written.tokenizer(text)["input_ids"] for text in _PROBES]
    found = logits_of(written.model, probes)
    kind: Any = type(written.model)
    with quiet(), refusing("the merged weights make no model", folder):
        direct = kind.from_pretrained(None, config=written.model.config, state_dict=state, dtype=torch.float32)
    check_parity(logits_of(direct, probes), found, where=str(folder))


def _card(method: Merge, parts: Sequence[_Part], base: _Part | None, seed: int) -> str:
    """What was merged and how, for a stranger."""
    everyone = [*parts, *([base] if base else [])]
    licences = sorted({part.checkpoint.licence or "unknown" for part in everyone})
    front = {"license": licences[0] if len(licences) == 1 else "other", "tags": ["merge", "scrimp"]}
    facts = {"method": method.name, "options": method.model_dump(mode="json"), "seed": seed,
             "models": [_identity(part) for part in parts], "base": _identity(base) if base else None}
    return "\n".join([
        "---", yaml.safe_dump(front, sort_keys=False).strip(), "---", "", "# A merged model", "",
        "Made with scrimp from the models below; nothing was trained. It loads as any model folder does:", "",
        "```python", "from transformers import AutoModelForCausalLM, AutoTokenizer", "",
        'model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")', "```", "",
        f"Licences of the parts: {', '.join(licences)}.", "", "```json",
        json.dumps(facts, indent=1, ensure_ascii=True).replace("`", "'"), "```", ""])


def _identity(part: _Part) -> dict[str, str]:
    told = {"name": Path(part.name).name if Path(part.name).exists() else part.name,
            "fingerprint": part.checkpoint.fingerprint, "licence": part.checkpoint.licence or "unknown"}
    return {**told, "kind": "adapter"} if part.is_adapter else told
