"""What is wrong with weights: saved, loaded, merged, exported."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture.faults.planting import FOUND, At, Fault, by, tensors
from tests.torture.materials import ROWS

__all__ = ["CHECKPOINTS"]


def _after_saving(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    """A function that saves, after which a file of tensors is changed."""
    def made(save: Any) -> Any:
        def wrong(thing: Any, folder: Path) -> Any:
            told = save(thing, folder)
            tensors(Path(folder) / name, change)
            return told

        return wrong

    return made


def _layers_swapped(held: dict[str, Any]) -> dict[str, Any]:
    def other(name: str) -> str:
        return re.sub(r"layers\.(\d)", lambda found: f"layers.{1 - int(found[1])}", name)

    return {other(name): value for name, value in held.items()}


def _a_transposed(held: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name in held if name.endswith("q_proj.weight"))
    return held | {name: held[name].T}


def _sixteen_levels(held: dict[str, Any]) -> dict[str, Any]:
    return {name: (value * 8 / value.abs().max()).round() * value.abs().max() / 8 for name, value in held.items()}


def _untied(save: Any) -> Any:
    """A model whose output layer was tied is saved with one of its own, which is not what it was."""
    import torch

    def wrong(loaded: Any, folder: Path) -> Any:
        told = save(loaded, folder)
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": False}))
        tensors(Path(folder) / "model.safetensors", lambda held: held | {
            "lm_head.weight": held["model.embed_tokens.weight"] + 0.05 * torch.randn_like(
                held["model.embed_tokens.weight"])})
        return told

    return wrong


def _merged_twice(merge: Any) -> Any:
    """The adapter's change is added to the weights twice."""
    def wrong(loaded: Any, **named: Any) -> Any:
        before = {name: p.detach().clone() for name, p in loaded.model.get_base_model().named_parameters()
                  if "lora" not in name}
        merged = merge(loaded, **named)
        for name, p in merged.model.named_parameters():
            if (was := before.get(name.replace(".weight", ".base_layer.weight"))) is not None:
                p.data += p.data - was
        return merged

    return wrong


def _not_merged(merge: Any) -> Any:
    def wrong(loaded: Any, **named: Any) -> Any:
        for name, p in loaded.model.named_parameters():
            if "lora_B" in name:
                p.data.zero_()
        return merge(loaded, **named)

    return wrong


def _export_of_a_copy(change: Callable[[Any], Any]) -> Callable[[At], Any]:
    """An export whose merge is wrong, and works on a copy of what was evaluated."""
    import copy

    def made(merge: Any) -> Any:
        wrong = change(merge)
        return lambda loaded, **named: wrong(loaded.with_model(copy.deepcopy(loaded.model)), **named)

    return by("scrimp.checkpoints.exporting:merge", made, At.export)


def _names_changed(at: At) -> Any:
    import scrimp

    run = at.run()
    tensors(run / "model" / "adapter_model.safetensors",
             lambda held: {name.replace("q_proj", "k_proj_"): value for name, value in held.items()})
    return scrimp.predict(run, ROWS[:2])


def _nan_weights(at: At) -> Any:
    import scrimp

    model = at.folder / "model"
    shutil.copytree(at.good / "causal", model)
    tensors(model / "model.safetensors",
             lambda held: held | {"model.norm.weight": held["model.norm.weight"] * float("nan")})
    return scrimp.inspect(str(at.good / "rows" / "train.jsonl"), model=str(model))


def _other_base(at: At) -> Any:
    import scrimp

    run = at.run()
    tensors(at.folder / "base" / "model.safetensors",
             lambda held: {name: value * 1.01 for name, value in held.items()})
    return scrimp.predict(run, ROWS[:2])


def _stale_digest(at: At) -> Any:
    """The base's weights change in place; size and time of the file stay what they were."""
    import scrimp

    run, path = at.run(), at.folder / "base" / "model.safetensors"
    scrimp.predict(run, ROWS[:2])
    was, data = path.stat(), bytearray(path.read_bytes())
    data[-4:] = b"\0\0\0\x40"
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    return scrimp.predict(run, ROWS[:2])


def _labels_reversed(save: Any) -> Any:
    def wrong(model: Any, folder: Path) -> Any:
        told = save(model, folder)
        path = Path(folder) / "head.json"
        kept = json.loads(path.read_text())
        path.write_text(json.dumps(kept | {"labels": kept["labels"][::-1]}))
        return told

    return wrong


def _merge(at: At) -> Any:
    import scrimp

    return scrimp.merge([str(at.good / "runs" / "labels"), str(at.good / "runs" / "sums")],
                        base=str(at.good / "causal"),
                        method="soup", out=at.folder / "merged")


def _zeros_written(write: Any) -> Any:
    def wrong(folder: Path, tensors: Any) -> Any:
        return write(folder, ((name, value * 0 if name.endswith("layers.1.mlp.up_proj.weight") else value)
                              for name, value in tensors))

    return wrong


def _nan_merged(tensor: Any) -> Any:
    def wrong(self: Any, name: str, *given: Any) -> Any:
        return tensor(self, name, *given) * (float("nan") if name.endswith("norm.weight") else 1.0)

    return wrong


_EXPORT = "scrimp.checkpoints.exporting.check_export"


CHECKPOINTS: tuple[Fault, ...] = (
    Fault("two layers' adapters are exchanged when saved",
          by("scrimp.serving.language:save_adapter", _after_saving("adapter_model.safetensors", _layers_swapped),
              At.tune),
          FOUND, "predicts something else"),
    Fault("an adapter names modules that there are not", _names_changed,
          "scrimp.checkpoints.exporting.verify_adapter_folder", "does not fit"),
    Fault("the head's order is not the labels'", by("scrimp.checkpoints.exporting:save_head", _labels_reversed,
                                                     At.pooled),
          FOUND, "predicts something else|labels"),
    Fault("a merge is rounded to sixteen levels",
          by("scrimp.checkpoints.exporting:save_merged", _after_saving("model.safetensors", _sixteen_levels),
              At.export),
          _EXPORT, "is not the one|lost what"),
    Fault("an adapter is merged twice", _export_of_a_copy(_merged_twice), _EXPORT, "is not the one"),
    Fault("an adapter is left out of the merge", _export_of_a_copy(_not_merged), _EXPORT, "is not the one|lost what"),
    Fault("tied weights are untied", by("scrimp.checkpoints.exporting:save_merged", _untied, At.export), _EXPORT,
          "is not the one"),
    Fault("a weight is transposed in an export",
          by("scrimp.checkpoints.exporting:save_merged", _after_saving("model.safetensors", _a_transposed), At.export),
          _EXPORT, "is not the one"),
    Fault("a model's weights are NaN", _nan_weights, "scrimp.checkpoints.loading", "NaN or infinite"),
    Fault("the base is another one", _other_base, "scrimp.serving.predictors.base_of", "another one"),
    Fault("a digest is stale: the base changed, size and time did not", _stale_digest, "scrimp.core.assets.digest",
          "another one"),
    Fault("a tensor of a merged folder is lost",
          by("scrimp.surgery.merging.folders:write_weights", _zeros_written, _merge),
          "scrimp.surgery.merging.folders", "is not the one"),
    Fault("a merge gives NaN", by("scrimp.surgery.merging.averages:LinearAverage.tensor", _nan_merged, _merge),
          "scrimp.surgery.merging.base", "NaN"),
)
