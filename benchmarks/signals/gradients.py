"""Gradients of each row: packed beside a loop with a batch of one, in turn, in one process; and their equality.

    python -m benchmarks.signals.gradients [--tokens 64,205] [--batches 1] [--rounds 5] [--threads 1] [--out FILE]

SmolLM2-135M with LoRA of rank 8 on all linear layers, rows of newsgroup posts, a projection to 8192 numbers in both.
What is trained are the last three quarters of a row, as of a text, or its last five tokens, as of an answer. Packed are
full batches of a pass. Seconds are those that a processor spent on the one thread that computes: what else
runs on the machine does not count, but for what it takes of caches and memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.assets import obtain
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.examples.datasets import DATASETS
from scrimp.examples.templates import Encoded
from scrimp.signals import gradients
from scrimp.signals.gradients import TOKENS, GradientPass
from scrimp.signals.projection import Projection

TRAINED = {"text": lambda tokens: tokens - tokens // 4, "answer": lambda tokens: 5}  #: of a row's tokens, the last
LAYERS = {"all layers": r".*lora_[AB].*", "upper quarter": r".*layers\.(2[3-9])\..*lora_[AB].*"}
WIDTH = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="64,205", help="tokens of a row")
    parser.add_argument("--batches", type=int, default=1, help="packed in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lengths = [int(tokens) for tokens in options.tokens.split(",")]
    found = [compared(adapted("bfloat16"), layers, tokens, trained, options)
             for tokens in lengths for trained in TRAINED for layers in LAYERS]
    exact = [error(adapted("float32"), tokens) for tokens in lengths]
    seconds = "of the processor" if options.threads == 1 else "of a clock"
    report = {"torch": torch.__version__, "threads": options.threads, "seconds": seconds, "speed": found,
              "largest relative error in float32": max(exact)}
    print(json.dumps(report, indent=1))
    if options.out:
        atomic_write(options.out, json.dumps(report, indent=1) + "\n")


def adapted(dtype: Any) -> Any:
    """SmolLM2-135M with a LoRA that is no longer at its start, and its tokenizer."""
    loaded = load(resolve("smollm2-135m"), dtype=dtype)
    model = build("adapter", "lora", {"rank": 8}).attach(loaded.model, seed=0)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 1e-3, generator=draw)
    return model, loaded.tokenizer


def posts(tokenizer: Any, tokens: int, count: int, trained: str) -> list[Encoded]:
    """Rows of exactly so many tokens."""
    texts = (text for text, _ in DATASETS["20newsgroups"].load(obtain("20newsgroups"))[0])
    ids = (tokenizer(text)["input_ids"][:tokens] for text in texts)
    whole = [one for one, _ in zip((i for i in ids if len(i) == tokens), range(count), strict=False)]
    mask = [at >= tokens - TRAINED[trained](tokens) for at in range(tokens)]
    return [Encoded(one, mask, row=number) for number, one in enumerate(whole)]


def compared(given: Any, layers: str, tokens: int, trained: str, options: Any) -> dict[str, Any]:
    """Examples a second of both ways, in turn, medians; and milliseconds of the projection for each example."""
    model, tokenizer = given
    count = options.batches * (TOKENS // tokens)
    rows = posts(tokenizer, tokens, count, trained)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    work = GradientPass(model, LAYERS[layers], WIDTH, 0)
    batches = [[rows[i] for i in batch] for batch in work.batches([tokens] * count)]
    few = rows[:4]
    with work._moving() as chosen:
        ways: dict[str, Callable[[], Any]] = {
            "loop": lambda: work._looped(few, chosen), "packed": lambda: [work._packed(batch) for batch in batches]}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        folding: list[float] = []
        for way in ways.values():
            way()  # once to warm up
        for _ in range(options.rounds):
            for name, way in ways.items():
                with clocked_folds(clock) as folds:
                    started = clock()
                    way()
                    seconds[name].append((clock() - started) / (count if name == "packed" else len(few)))
            folding.append(1e3 * sum(folds) / count)
        apart = _apart(torch.cat(ways["packed"]()), work, rows, batches, chosen)
    pace = {name: 1 / statistics.median(each) for name, each in seconds.items()}
    return {"layers": layers, "tokens": tokens, "trained": trained, "rows at once": len(batches[0]),
            "loop, examples a second": pace["loop"], "packed, examples a second": pace["packed"],
            "times": pace["packed"] / pace["loop"], "projection, ms an example": statistics.median(folding),
            "apart, of a gradient's length": apart}


class clocked_folds:  # noqa: N801 (used as a context)
    """Within the block the seconds of each fold are noted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def __enter__(self) -> list[float]:
        self._real, spent = Projection.fold, []

        def fold(projection: Projection, *args: Any) -> torch.Tensor:
            started = self._clock()
            squares = self._real(projection, *args)
            spent.append(self._clock() - started)
            return squares

        gradients.Projection.fold = fold  # type: ignore[method-assign]
        return spent

    def __exit__(self, *_: object) -> None:
        gradients.Projection.fold = self._real  # type: ignore[method-assign]


def _apart(packed: torch.Tensor, work: GradientPass, rows: Sequence[Encoded], batches: Sequence[Sequence[Encoded]],
           chosen: Any) -> float:
    order = [row.row for batch in batches for row in batch]
    few = work._looped(rows[:2], chosen)
    ours = torch.stack([packed[order.index(row.row)] for row in rows[:2]])
    return float(((ours - few).norm(dim=1) / few.norm(dim=1)).max())


def error(given: Any, tokens: int) -> float:
    """The largest difference of the two ways in float32, of a gradient's length."""
    model, tokenizer = given
    rows = posts(tokenizer, tokens, 3, "text")
    work = GradientPass(model, LAYERS["all layers"], WIDTH, 0)
    with work._moving() as chosen:
        ours, usual = work._packed(rows), work._looped(rows, chosen)
    assert ours is not None
    return float(((ours - usual).norm(dim=1) / usual.norm(dim=1)).max())


if __name__ == "__main__":
    main()
