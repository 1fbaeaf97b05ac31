"""What is trained on: real newsgroup posts, cut to the lengths that make a workload."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scrimp.compute.forest import Forest
from scrimp.core.assets import obtain
from scrimp.examples.datasets import DATASETS
from scrimp.examples.templates import Encoded

__all__ = ["WORKLOADS", "needed_flops", "rows", "tokens_of_posts"]

#: what each is, and how many of its rows are in one step
WORKLOADS = {"W1": ("few-shot: an instruction of 150 tokens before every input of 20 to 80, an answer of 5", 8),
             "W2": ("chat: prompts of 50 to 150 tokens, answers of 50 to 200", 8),
             "W3": ("preference: a prompt of 200 tokens, two answers of 60", 4),
             "W4": ("plain text in rows of 512 tokens", 4)}


def rows(workload: str, tokenizer: Any, seed: int = 0) -> list[Encoded]:
    """The rows of one step."""
    rng, stream = np.random.default_rng(seed), tokens_of_posts(tokenizer)

    def take(least: int, most: int | None = None) -> list[int]:
        return list(itertools.islice(stream, least if most is None else int(rng.integers(least, most + 1))))

    made, instruction = [], take(150)
    for number in range(WORKLOADS[workload][1]):
        if workload == "W1":
            made.append(_answered([*instruction, *take(20, 80)], take(5), number))
        elif workload == "W2":
            made.append(_answered(take(50, 150), take(50, 200), number))
        elif workload == "W3":
            prompt = take(200)
            made.append(replace(_answered(prompt, take(60), number), second=_answered(prompt, take(60), number)))
        else:
            made.append(_answered([], take(512), number))
    return made


def needed_flops(model: Any, batch: Sequence[Encoded]) -> float:
    """Operations that a step with a small adapter cannot do without, attention and the adapter left out.

    Forward and backward through the frozen weights, without gradients of these: of each token once that rows have in
    common, and through the output layer only of tokens that are predicted.
    """
    every = [one for row in batch for one in (row, row.second) if one is not None]
    head = model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    body -= 0 if model.config.tie_word_embeddings else head
    computed = len(Forest.of([np.array(one.ids) for one in every]).ids)
    return 4.0 * (body * computed + head * sum(sum(one.trained[1:]) for one in every))


def _answered(prompt: list[int], answer: list[int], number: int) -> Encoded:
    return Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer), row=number)


def tokens_of_posts(tokenizer: Any) -> Iterator[int]:
    """The tokens of newsgroup posts, one after another."""
    posts, _ = DATASETS["20newsgroups"].load(obtain("20newsgroups"))
    for text, _ in posts:
        yield from tokenizer(text, verbose=False)["input_ids"]
