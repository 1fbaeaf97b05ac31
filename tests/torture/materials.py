"""Valid inputs of every kind, made once: tiny random models, rows, runs, a GGUF file, requests, records."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests import tiny

__all__ = ["PAIRS", "RECIPE", "ROWS", "TEST_ROWS", "basics", "lines", "make"]

ROWS = [{"text": f"film {n} over the fox, {'I loved it' if n % 2 else 'I hated it'}", "label": "np"[n % 2]}
        for n in range(16)]
TEST_ROWS = [{"text": f"show {n} under the dog, {'what a good one' if n % 2 else 'what a bad one'}",
              "label": "np"[n % 2]}
             for n in range(100, 108)]
PAIRS = [{"prompt": f"{a} + {b} =", "completion": str(a + b)} for a in range(4) for b in range(4)]
CHATS = [{"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": f"count to {n}"},
                       {"role": "assistant", "content": " ".join(map(str, range(n)))}]} for n in range(1, 9)]
PREFERENCES = [{"prompt": f"say {n}", "chosen": f"{n}", "rejected": "no"} for n in range(8)]
RECIPE = """version: 1
model: {model}
data: {{train: train.jsonl}}
budget: {{time: 2m}}
steps:
  - select: {{method: random, keep: 75%}}
  - tune: {{adapter: lora, rank: 2, learning_rate: 1e-3, schedule: wsd, objective: sft, steps: 2, batch_size: 4}}
evaluate: [task, retention]
seeds: [0]
"""
_DONE = "made"


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def make(folder: Path) -> Path:
    """Make everything in ``folder``, unless it is there."""
    if (folder / _DONE).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ |= {"SCRIMP_WORKSPACE": str(folder / "space"), "SCRIMP_CACHE": str(folder / "cache")}
    basics(folder)
    tiny.causal(folder / "causal")
    tiny.encoder(folder / "encoder")
    (folder / "gguf").mkdir()
    tiny.gguf(folder / "causal", folder / "gguf" / "tiny.gguf")
    _runs(folder)
    _kept(folder)
    (folder / _DONE).touch()
    return folder


def basics(folder: Path) -> None:
    """What needs no model: rows in every format, recipes, options, requests."""
    _rows(folder / "rows")
    _records(folder / "records")


def _rows(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for name, rows in {"train": ROWS, "test": TEST_ROWS, "pairs": PAIRS, "chats": CHATS,
                       "preferences": PREFERENCES}.items():
        (folder / f"{name}.jsonl").write_text(lines(rows))
    (folder / "train.json").write_text(json.dumps(ROWS))
    (folder / "chats.json").write_text(json.dumps(CHATS))
    cells = [(row["text"], row["label"]) for row in ROWS]
    (folder / "train.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in cells))
    (folder / "train.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in cells))
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "train.parquet")
    for label in "np":
        (folder / "texts" / label).mkdir(parents=True)
        for n, row in enumerate(ROWS[:4]):
            (folder / "texts" / label / f"{n}.txt").write_text(row["text"])


def _records(folder: Path) -> None:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.format(model="smollm2-135m"))
    (folder / "options.json").write_text(json.dumps(
        {"options": {"a": 3, "b": 0.5, "c": 1, "d": True, "e": "mean", "f": 0.01, "g": [0.5, 0.5], "h": 64}}))
    requests = [
        ["POST", "/v1/chat/completions", {"model": "bare", "messages": [{"role": "user", "content": "what a film"}],
                                          "max_tokens": 2, "temperature": 0.5, "seed": 1, "stop": ["x"], "n": 1}],
        ["POST", "/v1/completions", {"model": "labels", "prompt": ["one two"], "max_tokens": 2, "echo": False}],
        ["POST", "/v1/classify", {"model": "labels", "input": ["what a film"]}],
        ["POST", "/v1/embeddings", {"model": "bare", "input": "one two", "encoding_format": "float"}],
        ["GET", "/v1/models/labels", None], ["GET", "/health", None]]
    for n, (method, path, body) in enumerate(requests):
        (folder / f"request-{n}.json").write_text(json.dumps(
            {"method": method, "path": path, "headers": {"content-type": "application/json"}, "body": body}))
    asked = {
        "fit": {"data": "train.jsonl", "out": "run", "budget": "5m", "seed": 3, "columns": "text=x,label=y"},
        "tune": {"data": "train.jsonl", "out": "run", "rank": 4, "adapter": "lora", "learning_rate": 1e-3, "epochs": 2},
        "select": {"data": "a.jsonl", "keep": "5%", "method": "random", "out": "b.jsonl"},
        "mix": {"data": "web.jsonl,law.jsonl", "method": "temperature", "out": "mix.jsonl"},
        "merge": {"models": ["a", "b"], "method": "dare", "density": 0.5, "weights": [1, 0.5], "out": "m"},
        "predict": {"run": "run", "data": "new.csv"}, "evaluate": {"run": "run", "data": "t.csv",
                                                                   "metrics": "accuracy"},
        "compare": {"recipes": ["a.yaml", "b.yaml"], "out": "c"}, "export": {"run": "run", "out": "o",
                                                                             "form": "merged"},
        "deduplicate": {"data": "a.jsonl", "out": "b.jsonl"}, "serve": {"folder": "run", "port": 8000},
        "decontaminate": {"data": "a.jsonl", "against": "t.jsonl", "out": "b.jsonl"},
        "sample": {"name": "vader-films", "out": "d", "per_class": 4}, "clean": {"quota": "2GB"},
        "plan": {"data": "a.jsonl"}, "inspect": {"data": "a.jsonl"}, "run": {"recipe": "r.yaml", "out": "o"}}
    for verb, options in asked.items():
        (folder / f"verb-{verb}.json").write_text(json.dumps({"verb": verb, "options": options}))


def _runs(folder: Path) -> None:
    """What `tune` leaves, by each kind of thing that is tuned, and a control that is saved by itself."""
    import torch

    import scrimp
    from scrimp.core.progress import quiet
    from scrimp.serving.predictors import WordCounts

    torch.set_num_threads(1)
    causal, encoder = str(folder / "causal"), str(folder / "encoder")
    with quiet():
        for name, rows, model, choices in (
                ("labels", "train", causal, {"rank": 2}), ("sums", "pairs", causal, {"rank": 2}),
                ("graft", "train", causal, {"adapter": "bottleneck"}),
                ("pooled", "train", encoder, {"adapter": "lora", "rank": 2, "objective": "classify"})):
            scrimp.tune(str(folder / "rows" / f"{rows}.jsonl"), out=folder / "runs" / name, model=model,
                        test=str(folder / "rows" / "test.jsonl") if rows == "train" else None,
                        workspace=folder / "space", steps=2, batch_size=4, **choices)
    WordCounts.fit([row["text"] for row in ROWS],
                   [row["label"] for row in ROWS]).save(folder / "runs" / "words" / "model")


def _kept(folder: Path) -> None:
    """What signals, trainings and claims keep."""
    import numpy as np
    import torch

    from scrimp.core.workspace import Workspace
    from scrimp.signals.answers import Answers
    from scrimp.signals.generations import Answer, Generations
    from scrimp.tuning.snapshots import Snapshot, Snapshots

    for step in (1, 2):
        Snapshots(folder / "snapshots", "me").save(
            Snapshot({"now.a": torch.tensor([1.0, 2.0, 3.0])}, {"position": {"step": step}}))
    (folder / "passes").mkdir()
    answers = Answers.in_folder(folder / "passes", np.arange(16, dtype=np.uint8).reshape(4, 4), [1, 1, 1, 1], 3)
    answers.put(np.arange(4), np.arange(12, dtype=np.float32).reshape(4, 3))
    answers.flush()
    shutil.copy(sorted((Path(__file__).parents[2] / "evidence" / "results").glob("*.json"))[0], folder / "result.json")

    class Echo:
        def identity(self) -> str:
            return "echo"

        def most(self, prompt: str) -> int:
            return 1

        def ask(self, questions, sampling, tell) -> None:
            tell({n: Answer(f"said {one.prompt}", 1, 1) for n, one in enumerate(questions)})

    Generations(Echo(), workspace=Workspace(folder / "answers"))(["a", "b"])
