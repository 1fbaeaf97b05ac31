"""A tenth of the rows, of the length that was asked for and well written, teaches length better than all of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.data.selection.askedlength import obedience
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read

COUNT = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SHORTEST, POOL, SHARE = 3, 1000, 10  # words of the shortest answer; rows, of which one in so many is kept
WRONG, BROKEN = 0.3, 0.3  # shares of the rows whose length is not what was asked for, and whose words are in disorder
STEPS, BATCH, RATE = 120, 16, 4e-3


@claim(
    papers=(63,),
    says="A small language model is to count to what it is asked for. Of 1,000 rows three in ten stop too early or too "
         "late, and three in ten have their words in disorder. Tuned on the tenth that obeys the length and that it "
         "finds least odd, it gives the length asked for no worse than tuned as long on all of them, and better than "
         "on a tenth by chance and on the longest tenth.",
    holds_if=("length: filtered >= all", "length: filtered > random", "length: filtered > longest",
              "right: filtered > all", "right: filtered > random"),
    arms={"filtered": {"name": "long-output"}, "obeying": {"name": "asked-length"}, "longest": {"name": "longest"},
          "random": {"name": "random"}, "all": {"name": "random", "share": 1}},
    methods=("selection/long-output", "selection/asked-length", "selection/longest", "selection/random"),
    unequal="the model is tuned as long in all arms; what scoring costs beside is on the bill",
    minutes=3,
)
def long_output(lab: Lab, *, name: str, share: int = SHARE) -> dict[str, float]:
    rows, kinds = asked(lab, lab.scale(POOL, 60))
    signals = lab.signals(lab.language_model())
    kept = build("selection", name).select(read(rows), len(rows) // share, signals=signals, seed=lab.seed).indices
    model = lab.tune(lab.language_model(), lab.encoded([rows[i] for i in kept]), adapter="full", learning_rate=RATE,
                     steps=lab.scale(STEPS, 2), batch_size=BATCH)
    lengths = range(SHORTEST, len(COUNT) + 1)
    told = [answered(lab, model, prompt(count)) for count in lengths]
    return {"length": float(np.mean([obedience(n, len(words)) for n, words in zip(lengths, told, strict=True)])),
            "right": float(np.mean([words == COUNT[:n] for n, words in zip(lengths, told, strict=True)])),
            **{kind: float((kinds[kept] == kind).mean()) for kind in ("wrong", "broken")}}


def prompt(count: int) -> str:
    return f"count {count} words :"


def asked(lab: Lab, count: int) -> tuple[list[dict[str, str]], np.ndarray]:
    """The pool, and what is wrong with each row."""
    kinds = lab.rng.choice(["good", "wrong", "broken"], p=[1 - WRONG - BROKEN, WRONG, BROKEN], size=count)
    lengths = np.arange(SHORTEST, len(COUNT) + 1)
    rows = []
    for kind in kinds:
        wanted = int(lab.rng.choice(lengths))
        words = COUNT[:int(lab.rng.choice(lengths[lengths != wanted]))] if kind == "wrong" else COUNT[:wanted]
        said = lab.rng.permutation(words) if kind == "broken" else words
        rows.append({"prompt": prompt(wanted), "completion": "".join(f" {word}" for word in said)})
    return rows, kinds


def answered(lab: Lab, model: nn.Module, text: str) -> list[str]:
    """The likeliest words after a prompt, until the end."""
    tokenizer = lab.tokenizer()
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=lab.scale(40, 8),  # type: ignore[operator]
                               do_sample=False, pad_token_id=0, eos_token_id=0)
    return tokenizer.decode(found[0, ids.shape[1]:], skip_special_tokens=True).split()
