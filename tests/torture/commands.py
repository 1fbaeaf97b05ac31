"""The verbs as a person types them, over the campaign's materials, each in a process of its own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.materials import RECIPE

__all__ = ["COMMANDS", "Command", "fingerprints", "half", "server", "start"]

Words = Callable[[Path, Path], list[str]]


@dataclass(frozen=True)
class Command:
    """One verb.

    Attributes:
        words: what is typed, given the materials and the folder to write into.
        leaves: the file or folder that it leaves, in that folder; None if it only prints.
        same: patterns of what must be the same bytes whenever it is finished; empty where time decides it.
        whole: names that a folder it leaves has, all or none.
        weight: how many kills it gets, of those of all.
        ends: whether it ends by itself.
    """

    words: Words
    leaves: str | None = None
    same: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    weight: float = 1.0
    ends: bool = True


def _learn(verb: str, *more: str) -> Words:
    return lambda good, at: [verb, str(good / "rows/train.jsonl"), "--test", str(good / "rows/test.jsonl"),
                             "--out", str(at / "out"), "--model", str(good / "causal"), *more]


def _recipe(good: Path, at: Path) -> Path:
    path = at / "recipe.yaml"
    if not path.exists():
        at.mkdir(parents=True, exist_ok=True)
        rows = f"train: {good / 'rows/train.jsonl'}, test: {good / 'rows/test.jsonl'}"
        path.write_text(RECIPE.format(model=good / "causal").replace("train: train.jsonl", rows)
                        .replace("steps: 2,", "steps: 30,") + f"encoder: {good / 'encoder'}\n")
    return path


_MODEL = ("config.json", "model.safetensors")
_RUN = ("scores.json", "model/scrimp.json")
COMMANDS: dict[str, Command] = {
    "tune": Command(_learn("tune", "--rank", "2", "--steps", "60", "--batch-size", "4", "--checkpoint-every-steps",
                           "5"),
                    "out", ("model/*.safetensors",), _RUN, weight=5),
    "tune, answers": Command(lambda good, at: [
        "tune", str(good / "rows/pairs.jsonl"), "--out", str(at / "out"), "--model", str(good / "causal"), "--adapter",
        "full", "--learning-rate", "1e-3", "--steps", "30", "--batch-size", "4", "--checkpoint-every-steps", "5"],
        "out", ("model/*.safetensors",), _RUN, weight=2),
    "fit": Command(_learn("fit", "--budget", "5m", "--rungs", "word-counts,untouched"), "out", (), _RUN, weight=2),
    "run": Command(lambda good, at: ["run", str(_recipe(good, at)), "--out", str(at / "out")],
                   "out", ("model/*.safetensors",), _RUN, weight=2),
    "compare": Command(lambda good, at: ["compare", str(_recipe(good, at)), "--out", str(at / "out"), "--seeds", "2",
                                         "--budget", "5m"], "out", (), ("comparison.json",), weight=0.4),
    "select": Command(lambda good, at: ["select", str(good / "rows/train.jsonl"), "--method", "random", "--keep", "50%",
                                        "--out", str(at / "kept.jsonl")], "kept.jsonl", ("",), weight=2),
    "mix": Command(lambda good, at: ["mix", f"{good}/rows/train.jsonl,{good}/rows/test.jsonl", "--method",
                                     "temperature",
                                     "--out", str(at / "mix.jsonl")], "mix.jsonl", ("",), weight=2),
    "deduplicate": Command(lambda good, at: ["deduplicate", str(good / "rows/train.jsonl"), "--out",
                                             str(at / "once.jsonl")], "once.jsonl", ("",), weight=2),
    "decontaminate": Command(lambda good, at: ["decontaminate", str(good / "rows/train.jsonl"), "--test",
                                               str(good / "rows/test.jsonl"), "--out", str(at / "clean.jsonl")],
                             "clean.jsonl", ("",), weight=2),
    "merge": Command(lambda good, at: ["merge", str(good / "runs/labels"), str(good / "runs/sums"), "--base",
                                       str(good / "causal"), "--method", "soup", "--out", str(at / "out")],
                     "out", ("*.safetensors",), _MODEL, weight=3),
    "export": Command(lambda good, at: ["export", str(good / "runs/labels"), "--out", str(at / "out"), "--form",
                                        "merged"],
                      "out", ("*.safetensors",), _MODEL, weight=2),
    "export, adapter": Command(lambda good, at: ["export", str(good / "runs/labels"), "--out", str(at / "out")],
                               "out", ("*.safetensors",), ("adapter_config.json", "adapter_model.safetensors")),
    "predict": Command(lambda good, at: ["predict", str(good / "runs/labels"), str(good / "rows/test.jsonl"), "--out",
                                         str(at / "said.jsonl")], "said.jsonl", ("",), weight=2),
    "evaluate": Command(lambda good, at: ["evaluate", str(good / "runs/labels"), str(good / "rows/test.jsonl")]),
    "evidence": Command(lambda good, at: ["evidence", "run", "wide_ridge", "--smoke"], weight=1.5),
    "inspect": Command(lambda good, at: ["inspect", str(good / "rows/train.jsonl"), "--model", str(good / "causal")]),
    "plan": Command(lambda good, at: ["plan", str(good / "rows/train.jsonl"), "--signal", "losses", "--model",
                                      str(good / "causal"), "--probe", "1s"]),
    "schema": Command(lambda good, at: ["schema", "--out", str(at / "schema.json")], "schema.json", ("",)),
    "methods": Command(lambda good, at: ["methods"], weight=0.5),
    "clean": Command(lambda good, at: ["clean", "--yes"]),
    "serve": Command(lambda good, at: ["serve", str(good / "runs/labels"), "--port", str(18000 + os.getpid() % 1000)],
                     ends=False, weight=1.5),
}


def server() -> Any:
    """Where processes come from whose libraries are loaded already."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["torch", "transformers", "peft", "sklearn.linear_model", "scrimp.cli.app",
                                 "scrimp.serving.predictors", "scrimp.planning.ladder", "scrimp.reports.page"])
    return made


def start(made: Any, words: Sequence[str], log: Path, *, cache: Path, space: Path,
          before: Callable[[], None] | None = None) -> Any:
    """The command line in a process of its own; ``before`` is called within it first."""
    process = made.Process(target=_main, args=(list(words), str(log), str(cache), str(space), before))
    process.start()
    return process


def _main(words: list[str], log: str, cache: str, space: str, before: Callable[[], None] | None) -> None:
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= {"HF_HUB_OFFLINE": "1", "SCRIMP_CACHE": cache, "SCRIMP_WORKSPACE": space, "OMP_NUM_THREADS": "1",
                   "PYTHONWARNINGS": "ignore"}
    import torch

    torch.set_num_threads(1)
    from scrimp.cli.app import main

    if before is not None:
        before()
    code = main(words)
    sys.stdout.flush()
    os._exit(code)


def fingerprints(folder: Path, patterns: Sequence[str] = ("**/*",)) -> dict[str, str]:
    """Of the files in a folder, or of a file itself."""
    if folder.is_file():
        return {"": hashlib.sha256(folder.read_bytes()).hexdigest()}
    paths = {path for pattern in patterns if pattern for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def half(command: Command, at: Path) -> str | None:
    """What is half-written of what a command leaves; None if it is whole or not there."""
    if command.leaves is None or not (left := at / command.leaves).exists():
        return None
    if left.is_dir():
        there = [name for name in command.whole if (left / name).exists()]
        last = command.whole[:1]  # of a run the record, which comes last
        if there[:1] == list(last) and len(there) < len(command.whole):
            return f"{left.name} has {there} and not all of {command.whole}"
    files = [left] if left.is_file() else [path for path in left.rglob("*") if path.is_file()]
    for path in files:
        if path.name.startswith("."):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl" and path.name != "ledger.jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
            elif path.suffix == ".safetensors":
                from safetensors import safe_open

                with safe_open(path, framework="np") as opened:
                    list(opened.keys())
        except Exception as error:
            return f"{path.name} is half-written: {error}"
    return None
