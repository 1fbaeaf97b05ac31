"""Influence of rows on rows by their gradients, beside dattri and dattri-llm: speed, memory, and how near to exact.

    python -m benchmarks.signals.peers [--tokens 64] [--rows 16] [--asked 8] [--rounds 3] [--out FILE]

SmolLM2-135M in bfloat16 with LoRA of rank 8 on all linear layers, rows of newsgroup posts. An engine gives the cosine
of each row's gradient with that of each row asked about. A round of each engine is made in turn, each in a process of
its own on one thread that has met two rows before; seconds are those of the processor, medians; memory is the highest
resident size over what the process held with the model loaded. Exact are the cosines of whole gradients in float32, a
row at a time. Peers are measured where they are installed, as they offer it: dattri's attributor with its own
projection, dattri-llm's with factors as they are and projected to four by four numbers in each layer, 3360 in all;
beside it are shadows of ours with as many. What is measured is kept in the file at once, and a benchmark that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.signals.gradients import LAYERS, adapted, posts
from benchmarks.training.worker import resident
from scrimp.core.workspace import atomic_write
from scrimp.data.selection.target import directions
from scrimp.examples.templates import Encoded
from scrimp.signals.gradients import gradients

_PEERS = {"dattri": "dattri", "dattri_llm": "dattri-llm"}
_WIDTH = 512  # the default of dattri, and of LESS here

Rows = Sequence[Encoded]
Influence = Callable[[Any, Rows, Rows], np.ndarray]


def scrimp(model: Any, rows: Rows, asked: Rows, *, width: int) -> np.ndarray:
    found = directions(gradients(model, [*rows, *asked], parameters=LAYERS["all layers"], width=width).projected)
    return found[:len(rows)] @ found[len(rows):].T


def dattri(model: Any, rows: Rows, asked: Rows) -> np.ndarray:
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    def loss(weights: Any, row: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        ids, labels = row
        given = {"input_ids": ids[None], "use_cache": False}
        return mean_loss(torch.func.functional_call(model, weights, (), given).logits, labels[None])

    task = AttributionTask(loss, model, [None], checkpoints_load_func=lambda model, _: model)
    attributor = TracInAttributor(task, torch.ones(1), normalized_grad=True, projector_kwargs={"proj_dim": _WIDTH})
    whole = [DataLoader(TensorDataset(*tensors(some)), batch_size=len(some)) for some in (rows, asked)]
    return attributor.attribute(*whole).numpy()


def dattri_llm(model: Any, rows: Rows, asked: Rows, *, numbers: int | None = None) -> np.ndarray:
    from dattri_llm import REGISTER_ALL, AttributionArguments, AttributionTask, HookManagerConfig, TracInAttributor

    def loss(model: Any, batch: Any) -> torch.Tensor:
        ids, labels = batch
        return mean_loss(model(input_ids=ids, use_cache=False).logits, labels)

    projection = {"__default__": {"proj_dim": numbers, "proj_max_batch_size": 8}} if numbers else None
    with tempfile.TemporaryDirectory() as folder:
        arguments = AttributionArguments(folder, len(rows), len(asked), use_cpu=True)
        attributor = TracInAttributor(arguments, task=AttributionTask(loss, model))
        found = attributor.attribute(
            TensorDataset(*tensors(rows)), TensorDataset(*tensors(asked)), normalized_grad=True,
            hook_config=HookManagerConfig(linear_io=REGISTER_ALL, projection_kwargs=projection))
    return found.agnostic_matrix()[1].float().numpy()


def tensors(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of rows of one length, and labels, -100 where nothing is learned."""
    ids, trained = torch.tensor([row.ids for row in rows]), torch.tensor([row.trained for row in rows])
    return ids, ids.where(trained, -100)


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum over rows of the mean over their learned tokens."""
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="none")
    learned = (labels[:, 1:] != -100).float()
    return (losses.view_as(learned).sum(1) / learned.sum(1)).sum()


def exact(model: Any, rows: Rows, asked: Rows) -> np.ndarray:
    """Whole gradients, a row at a time."""
    moving = [value for value in model.parameters() if value.requires_grad]

    def whole(row: Encoded) -> np.ndarray:
        ids, labels = tensors([row])
        parts = torch.autograd.grad(mean_loss(model(input_ids=ids, use_cache=False).logits, labels), moving)
        return torch.cat([part.flatten() for part in parts]).double().numpy()

    ours, theirs = (directions(np.stack([whole(row) for row in some])) for some in (rows, asked))
    return ours @ theirs.T


ENGINES: dict[str, tuple[Influence, str, str]] = {  # with the numbers that are kept of a gradient, and the precision
    "exact": (exact, "all", "float32"),
    "scrimp, 512": (partial(scrimp, width=_WIDTH), "512", "bfloat16"),
    "scrimp, 3360": (partial(scrimp, width=3360), "3360", "bfloat16"),
    "scrimp, 8192": (partial(scrimp, width=8192), "8192", "bfloat16"),
    "dattri": (dattri, "512", "bfloat16"),
    "dattri_llm": (dattri_llm, "all, in factors", "bfloat16"),
    "dattri_llm, projected": (partial(dattri_llm, numbers=4), "3360, 16 a layer", "bfloat16"),
}


def one(engine: str, tokens: int, count: int, asked: int) -> dict[str, Any]:
    """A round of an engine, in this process."""
    torch.set_num_threads(1)
    influence, _, dtype = ENGINES[engine]
    model, tokenizer = adapted(dtype)
    for name, value in model.named_parameters():
        value.requires_grad_("lora_" in name)
    model.eval()
    rows = posts(tokenizer, tokens, count + asked, "text")
    rest = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size is counted from here
    influence(model, rows[:2], rows[-2:])
    began = time.process_time()
    found = influence(model, rows[:count], rows[count:])
    return {"seconds": time.process_time() - began, "memory": resident("VmHWM") - rest, "influence": found.tolist()}


def measured(out: Path, **settings: int) -> dict[str, Any]:
    """All rounds, with what ``out`` already holds of the same measuring."""
    here: dict[str, Any] = {
        "settings": settings,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {package: version(package) for name, package in {"torch": "torch", **_PEERS}.items()
                     if importlib.util.find_spec(name)}}
    before = json.loads(out.read_text()) if out.exists() else {}
    found = before if before.items() >= here.items() else {**here, "runs": {}}
    engines = [name for name in ENGINES
               if (peer := name.partition(",")[0]) not in _PEERS or importlib.util.find_spec(peer)]
    for number in range(settings["rounds"]):
        for name in engines:
            if len(runs := found["runs"].setdefault(name, [])) == number:
                runs.append(apart(name, settings["tokens"], settings["rows"], settings["asked"]))
                atomic_write(out, (json.dumps(found) + "\n").encode())
    return found


def summary(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each engine, the pace, the memory, and how its influence goes with the exact one."""
    rows = found["settings"]["rows"] + found["settings"]["asked"]
    truth = np.ravel(found["runs"]["exact"][0]["influence"])
    return {name: {"kept": ENGINES[name][1], "precision": ENGINES[name][2],
                   "examples a second": rows / statistics.median(run["seconds"] for run in runs),
                   "memory": max(run["memory"] for run in runs),
                   "pearson": float(pearsonr(np.ravel(runs[0]["influence"]), truth).statistic),
                   "spearman": float(spearmanr(np.ravel(runs[0]["influence"]), truth).statistic)}
            for name, runs in found["runs"].items()}


def apart(engine: str, tokens: int, rows: int, asked: int) -> dict[str, Any]:
    """As `one`, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.signals.peers", "--one", engine,
               "--tokens", str(tokens), "--rows", str(rows), "--asked", str(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=64, help="of a row")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--asked", type=int, default=8, help="rows whose influence is asked for")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("peers.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.tokens, given.rows, given.asked)))
        return
    found = measured(given.out, tokens=given.tokens, rows=given.rows, asked=given.asked, rounds=given.rounds)
    print(json.dumps(summary(found), indent=1))


if __name__ == "__main__":
    main()
