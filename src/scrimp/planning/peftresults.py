"""A comparison's runs as files that PEFT's method comparison reads: one JSON a run, with its three parts."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scrimp.core.workspace import atomic_write
from scrimp.planning.comparison import Arm, Comparison, Trial

__all__ = ["results", "write"]

_PACKAGES = ("transformers", "peft", "datasets", "bitsandbytes", "torch")


def write(found: Comparison, folder: Path) -> None:
    """Write one file for each run into ``folder``; those of earlier comparisons go."""
    for old in folder.glob("*.json"):
        old.unlink()
    for name, result in results(found):
        atomic_write(folder / f"{name}.json", json.dumps(result, indent=1, default=str))


def results(found: Comparison) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each run by its name: `run_info`, `train_info` and `meta_info`.

    What is called accelerator memory there is the process's here, of which the highest is known and no mean. The last
    of the metrics has the score as "test accuracy", whatever the metric is; its own name stands beside it.
    """
    meta = _meta(found)
    for arm in found.arms:
        for trial in arm.trials:
            yield f"{arm.name}--seed-{trial.seed}", {
                "run_info": _run(arm, trial), "train_info": _train(trial), "meta_info": meta}
        for seed, told in arm.failed.items():
            yield f"{arm.name}--seed-{seed}", {
                "run_info": {"experiment_name": f"{arm.name}/seed-{seed}", "error_msg": told, "peft_config": None,
                             "train_config": {"model_id": arm.model, "seed": seed}},
                "train_info": {"status": "failed", "metrics": []}, "meta_info": meta}


def _run(arm: Arm, trial: Trial) -> dict[str, Any]:
    return {"created_at": trial.created, "total_time": trial.spent.wall_s,
            "experiment_name": f"{arm.name}/seed-{trial.seed}", "peft_branch": "scrimp", "error_msg": "",
            "train_config": {"model_id": arm.model, "seed": trial.seed, "recipe": arm.recipe, **trial.rung.chosen},
            "peft_config": _adapter(trial)}


def _adapter(trial: Trial) -> dict[str, Any] | None:
    """The adapter's settings; none stands for full tuning there, so what has no adapter says what it is instead."""
    if trial.adapter is not None or (trial.rung.kind == "adapted" and trial.rung.name == "full"):
        return trial.adapter
    return {"peft_type": trial.rung.name.upper()}


def _train(trial: Trial) -> dict[str, Any]:
    last = trial.rung.curve[-1] if trial.rung.curve else None
    retention = trial.rung.retention
    metrics = {"test accuracy": trial.quality.value, "test metric": trial.quality.metric,
               "test accuracy interval": [trial.quality.low, trial.quality.high],
               "train loss": last.loss if last else None, "train samples": trial.train_rows,
               "train total tokens": trial.bill.tokens_backward,
               "forgetting*": retention.change if retention else 0.0}
    memory = trial.bill.peak_memory
    return {"accelerator_memory_reserved_avg": memory, "accelerator_memory_max": memory,
            "accelerator_memory_reserved_99th": memory, "train_time": trial.rung.bill.wall_s,
            "file_size": trial.rung.ship_bytes, "num_trainable_params": trial.rung.trainable, "num_total_params": None,
            "status": "success", "metrics": [metrics]}


def _meta(found: Comparison) -> dict[str, Any]:
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        packages |= {f"{name}-version": _version(name), f"{name}-commit-hash": None}
    return {"model_info": {"sha": None, "created_at": None},
            "dataset_info": {"metamath": {"sha": None, "created_at": None}, "gsm8k": {"sha": None, "created_at": None}},
            "package_info": packages, "system_info": _system(found.environment), "pytorch_info": ""}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _system(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {"system": platform.system(), "release": platform.release(), "version": platform.version(),
            "machine": platform.machine(), "processor": environment.get("processor", ""),
            "accelerator": environment.get("device", "")}
