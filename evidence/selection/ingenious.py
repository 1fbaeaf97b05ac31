"""A language model learns more from what covers a redundant corpus than from what chance draws."""

from __future__ import annotations

import numpy as np

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded
from scrimp.signals.losses import losses

WORDS, LENGTH, STEPS, BATCH, TURNS, COPIES = 60, 64, 96, 8, 4, 6


@claim(
    papers=(538,),
    says="Of a corpus in which twenty groups are of unequal size and posts of the larger ones are repeated, a quarter "
         "is kept. A small language model trained from nothing on rows drawn by their gains in facility location, anew "
         "in each quarter of the training, does better on all groups alike than on rows drawn by chance anew or once, "
         "and these better than the rows of the largest loss.",
    holds_if=("loss: ingenious < redrawn", "loss: ingenious < random", "loss: random < hardest"),
    arms={"ingenious": {"name": "ingenious", "turns": TURNS}, "redrawn": {"name": "random", "turns": TURNS},
          "random": {"name": "random"}, "best": {"name": "facility-location"},
          "hardest": {"name": "hardest"}},
    methods=("selection/ingenious", "selection/facility-location", "selection/random"),
    unequal="embeddings by MiniLM, or losses, are a pass over the corpus, which chance does without; all train for as "
            "many steps",
    minutes=4,
)
def ingenious(lab: Lab, *, name: str, turns: int = 1) -> dict[str, float]:
    """Embeddings are of an encoder that does not change, so that gains are counted once."""
    texts, vectors = redundant(lab)
    keep, steps = len(texts) // 4, lab.scale(STEPS, 4)
    if name == "hardest":
        lab.spent(forward=len(texts) * LENGTH)
        found = [-row.log_probability.mean() for row in losses(lab.language_model(), each(lab, texts))]
        drawn = [np.argsort(found)[::-1][:keep]]
    else:
        lab.spent(forward=0 if name == "random" else len(texts) * LENGTH)
        drawn = [lab.selected(name, vectors, keep, seed=lab.seed + 100 * turn) for turn in range(turns)]
    needed = steps * BATCH // turns
    rows = [row for kept in drawn for row in repeated(lab.blocks([texts[i] for i in kept], LENGTH), needed)]
    model = lab.tune(lab.scratch(layers=2, width=64), rows, adapter="full", learning_rate=8e-3, steps=steps,
                     batch_size=BATCH)
    test = [row for group in lab.domains() for row in lab.blocks(lab.texts(group, "test"), LENGTH, lab.scale(16, 1))]
    return {"loss": lab.loss(model, test),
            "different": float(np.mean([len({texts[i] for i in kept}) / keep for kept in drawn]))}


def redundant(lab: Lab) -> tuple[list[str], np.ndarray]:
    """The beginnings of posts, with features: groups of 60 posts down to 8, of the larger half of which some come six
    times.
    """
    most = lab.scale(60, 12)
    all_texts, labels, *_ = lab.classes("20newsgroups", most, lab.scale(400, 40))
    x, *_ = lab.features("20newsgroups", most, lab.scale(400, 40))
    rows, sizes = [], np.geomspace(most, most // 7, 20).round().astype(int)
    for place, group in enumerate(lab.rng.permutation(20)):
        own = lab.rng.permutation(np.flatnonzero(labels == group))[:sizes[place]]
        rows += [own, np.repeat(own[:len(own) // 3], COPIES - 1 if place < 10 else 0)]
    chosen = np.concatenate(rows)
    return [" ".join(all_texts[i].split()[:WORDS]) for i in chosen], x[chosen]


def each(lab: Lab, texts: list[str]) -> list[Encoded]:
    """Each text by itself, all of it learned."""
    ids = [lab.tokenizer()(text, truncation=True, max_length=2 * LENGTH)["input_ids"] for text in texts]
    return [Encoded(row, [True] * len(row), row=i) for i, row in enumerate(ids)]


def repeated(blocks: list[Encoded], count: int) -> list[Encoded]:
    """The first ``count``, from the beginning again where there are fewer."""
    return [blocks[i % len(blocks)] for i in range(count)]
