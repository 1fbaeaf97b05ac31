"""Of a budget of annotations, how much goes to right answers and how much to pairs of answers."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded

if TYPE_CHECKING:
    from torch import nn

SYMBOLS = "\n0123456789+=:"  # the model's tokens; the base has read ":" alone, the task is asked with "="
BASE_STEPS, BASE_RIGHT = 500, 0.6  # of the answers that the base has read
SMALL, LARGE = 240, 3000  # annotations; an answer costs as much as a pair
EPOCHS, BATCH, RATE, TESTED = 3, 32, 2e-3, 600
SLIPS = (-10, -1, 1, 10)


@claim(
    papers=(325,),
    says="A small decoder that has read additions, two fifths of them wrong and written otherwise, is tuned on right "
         "answers, and then on pairs of a right and a wrong one. Of 240 annotations it gets more answers right with "
         "answers alone than with half or a tenth of them answers; of 3,000, more with the rule's split than with "
         "answers alone, and more with a tenth of answers than with pairs alone.",
    holds_if=("small: answers > half", "small: answers > tenth", "large: rule > answers", "large: tenth > pairs"),
    arms={"answers": {"share": 1.0}, "half": {"share": 0.5}, "tenth": {"share": 0.1}, "pairs": {"share": 0.0},
          "rule": {"share": None}},
    search={"answers": {"rate": (1e-3, 2e-3)}, **{arm: {"pair_rate": (1e-4, 5e-4)}
                                                        for arm in ("half", "tenth", "pairs", "rule")}},
    tuned_for="both", better="higher",
    methods=("allocation/answers-then-preferences", "objective/dpo"),
    unequal="What is split, and equal, is the number of annotations, each seen three times; a pair is two texts, and "
            "is read by a reference too, which is to the advantage of pairs.",
    minutes=8,
)
def answers_or_pairs(lab: Lab, *, share: float | None, rate: float = RATE, pair_rate: float = 3e-4) -> dict[str, float]:
    """The same base for all arms of a seed; the right answers are those that are the most probable, digit by digit."""
    tested = _rows(_sums(lab.scale(TESTED, 20), lab.seed + 20_000), "=")
    found = {}
    for name, money in (("small", lab.scale(SMALL, 20)), ("large", lab.scale(LARGE, 20))):
        if share is None:
            rule = build("allocation", "answers-then-preferences")
            counts = rule.allocate(money, {"answers": 1.0, "pairs": 1.0}).counts
        else:
            counts = {"answers": round(share * money), "pairs": money - round(share * money)}
        rows = _rows(_sums(money, lab.seed), "=")
        answers, pairs = rows[:counts["answers"]], rows[money - counts["pairs"]:]
        model, plan = _base(lab), {"adapter": "full", "batch_size": BATCH, "epochs": EPOCHS, "micro_tokens": 2048}
        if answers:
            model = lab.tune(model, [replace(one, second=None) for one in answers], learning_rate=rate, **plan)
        if pairs:
            model = lab.tune(model, pairs, learning_rate=pair_rate, objective="dpo", **plan)
        found[name] = _right(model, tested)
    return {**found, "both": found["small"] + found["large"]}


def _base(lab: Lab) -> nn.Module:
    """What has read additions whose answers slip by a place now and then."""
    from safetensors.torch import load_file, save_file

    steps, model = lab.scale(BASE_STEPS, 5), lab.scratch(layers=2, width=64)
    model.resize_token_embeddings(len(SYMBOLS))  # type: ignore[operator]

    def make(folder: Any) -> None:
        draw = random.Random(lab.seed + 10_000)
        rows = [one if draw.random() < BASE_RIGHT or one.second is None else one.second
                for one in _rows(_sums(steps * 32, lab.seed + 10_000), ":")]
        made = Lab(lab.seed).tune(model, [replace(one, second=None) for one in rows], adapter="full", steps=steps,
                                  batch_size=32, micro_tokens=2048, learning_rate=3e-3)
        save_file({k: v.contiguous() for k, v in made.state_dict().items() if k != "lm_head.weight"},
                  folder / "weights.safetensors")

    kept = cache().step("answers-or-pairs", [steps, BASE_RIGHT, SYMBOLS, lab.seed], make)
    model.load_state_dict(load_file(kept / "weights.safetensors"), strict=False)
    model.tie_weights()  # type: ignore[operator]
    return model


def _sums(count: int, seed: int) -> list[tuple[int, int, int]]:
    """Two numbers of two digits, and by how much the wrong answer slips."""
    draw = random.Random(seed)
    return [(draw.randrange(10, 100), draw.randrange(10, 100), draw.choice(SLIPS)) for _ in range(count)]


def _rows(sums: list[tuple[int, int, int]], mark: str) -> list[Encoded]:
    """Each addition with its right answer, and beside it the same with a wrong one."""
    def row(number: int, first: int, second: int, answer: int) -> Encoded:
        asked, said = ([SYMBOLS.index(c) for c in text] for text in (f"{first}+{second}{mark}", f"{answer:03d}\n"))
        return Encoded(asked + said, [False] * len(asked) + [True] * len(said), row=number)

    return [replace(row(i, a, b, a + b), second=row(i, a, b, a + b + slip)) for i, (a, b, slip) in enumerate(sums)]


def _right(model: nn.Module, rows: list[Encoded]) -> float:
    """Share of the answers of which every digit, and the end, is the most probable token after those before."""
    batch = collate([replace(one, second=None) for one in rows], pad_id=0)
    with torch.inference_mode():
        said = model(input_ids=torch.from_numpy(batch.input_ids),
                     attention_mask=torch.from_numpy(batch.attention_mask)).logits[:, :-1].argmax(-1).numpy()
    wrong = batch.trained[:, 1:] & (said != batch.input_ids[:, 1:])
    return float(np.mean(~wrong.any(axis=1)))
