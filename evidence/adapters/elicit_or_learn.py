"""A learned prompt calls up what a model can do, and teaches nothing that needs other attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.planning.advice import Situation

if TYPE_CHECKING:
    from torch import nn

LENGTH, VALUES = 6, 8  # of a row: numbers, and the values that they have
SEPARATOR = VALUES + 1  # 0 pads; the values are 1 to VALUES
BASE_STEPS, STEPS, BATCH, TESTED = 900, 200, 32, 400

TASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ascending": lambda rows: np.sort(rows, axis=1),
    "next": lambda rows: rows % VALUES + 1,
    "descending": lambda rows: -np.sort(-rows, axis=1),
    "histogram": lambda rows: np.array([[(_counts(row) == count).sum() for count in _counts(row)] for row in rows])}
KNOWN = ("ascending", "next")  # what the base has learned, without being told which is asked


@claim(
    papers=(272,),
    says="A small transformer has learned to sort numbers or to add one to each, and does by chance the one or the "
         "other. A learned prompt of ten vectors makes it sort nine rows of ten right, and one of ten at most in "
         "descending order, which it has not learned; LoRA gets nine of ten right in both, and on the double histogram "
         "(how many numbers are as frequent as this one) more than the prompt. The rule says prompt for the first and "
         "LoRA for the rest.",
    holds_if=("known: prompt > 0.9", "known: lora > 0.9", "new: prompt < 0.1", "new: lora > 0.9",
              "histogram: lora > prompt", "advised: prompt >= 1", "advised: lora >= 1"),
    arms={"prompt": {"adapter": "prompt"}, "lora": {"adapter": "lora"}},
    search={"prompt": {"learning_rate": (3e-2, 2e-1)}, "lora": {"learning_rate": (3e-3, 1e-2)}},
    tuned_for="sum", better="higher",
    methods=("advice/adapter-by-bytes", "adapter/prompt", "adapter/lora"),
    unequal="Both make as many updates; a prompt's vectors pass through the model besides.",
    minutes=8,
)
def elicit_or_learn(lab: Lab, *, adapter: str, learning_rate: float) -> dict[str, float]:
    """A row is right if each of its numbers is the most probable one after those before."""
    options = {"prompt": {"vectors": 10}, "lora": {"rank": 8}}[adapter]
    found = {}
    for measure, task in (("known", "ascending"), ("new", "descending"), ("histogram", "histogram")):
        model = lab.tune(_base(lab), _rows(lab.scale(STEPS * BATCH, 64), [task], lab.seed), adapter=adapter,
                         steps=lab.scale(STEPS, 3), batch_size=BATCH, micro_tokens=4096, learning_rate=learning_rate,
                         **options)
        found[measure] = _right(model, _rows(lab.scale(TESTED, 16), [task], lab.seed + 20_000))
    rule = build("advice", "adapter-by-bytes")
    advised = [rule.advise(Situation(1e5, STEPS * BATCH, new_skill=task not in KNOWN)).choice
               for task in ("ascending", "descending", "histogram")]
    return {**found, "sum": sum(found.values()), "advised": float(advised == ["prompt", "lora", "lora"])}


def _base(lab: Lab) -> nn.Module:
    """What has learned the known tasks, either by chance; the same for all seeds."""
    from safetensors.torch import load_file, save_file

    steps, model = lab.scale(BASE_STEPS, 3), Lab(0).scratch(layers=2, width=64, vocabulary=SEPARATOR + 1)

    def make(folder: Path) -> None:
        made = Lab(0).tune(model, _rows(steps * 64, KNOWN, 10_000), adapter="full", steps=steps,
                                  batch_size=64, micro_tokens=4096, learning_rate=3e-3)
        save_file({k: v.contiguous() for k, v in made.state_dict().items() if k != "lm_head.weight"},
                  folder / "weights.safetensors")

    kept = cache().step("elicit-or-learn", [steps, LENGTH, VALUES, KNOWN], make)
    model.load_state_dict(load_file(kept / "weights.safetensors"), strict=False)
    model.tie_weights()  # type: ignore[operator]
    return model


def _counts(row: np.ndarray) -> np.ndarray:
    return (row[:, None] == row[None]).sum(axis=1)


def _rows(count: int, tasks: list[str] | tuple[str, ...], seed: int) -> list[Encoded]:
    """Numbers, and after the separator what one of the tasks makes of them."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, VALUES + 1, (count, LENGTH))
    answers = np.stack([TASKS[task](numbers) for task in tasks])[rng.integers(len(tasks), size=count), np.arange(count)]
    trained = [False] * (LENGTH + 1) + [True] * LENGTH
    return [Encoded([*asked, SEPARATOR, *told], trained, row=i)
            for i, (asked, told) in enumerate(zip(numbers.tolist(), answers.tolist(), strict=True))]


def _right(model: nn.Module, rows: list[Encoded]) -> float:
    batch = collate(rows, pad_id=0)
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(batch.input_ids),
                       attention_mask=torch.from_numpy(batch.attention_mask)).logits
    said = logits[:, -2 * LENGTH - 1:-1].argmax(-1).numpy()[:, LENGTH:]  # a prompt's vectors come before
    return float(np.mean((said == batch.input_ids[:, -LENGTH:]).all(axis=1)))
