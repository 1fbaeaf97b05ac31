"""A classifier that knows a little clean text finds more of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.signals import Signals

CHARACTERS, LENGTH, BATCH, STEPS = 200, 64, 8, 24
POOL, SHARE = 400, 5  # rows, of which one in so many is kept


@claim(
    papers=(73, 458),
    says="Of a pool that is seven tenths junk, words by chance or common words repeated, a fifth is kept to tune a "
         "small language model on. The fifth that n-grams or embeddings find most like 100 clean posts teaches it "
         "more than one by chance, drawn once or anew, than the longest and than what the model finds likeliest; a "
         "filter made of four times as many posts, half of them junk, is worse, and still better than chance.",
    holds_if=("loss: n-grams < random", "loss: n-grams < redrawn", "loss: n-grams < longest", "loss: n-grams < likely",
              "loss: network < random", "loss: network < noisy-network", "loss: noisy-network < random"),
    arms={"n-grams": {"name": "quality-classifier"}, "network": {"name": "filter-network"},
          "noisy-network": {"name": "filter-network", "clean": 0.5, "examples": 400}, "random": {"name": "random"},
          "redrawn": {"name": "random", "draws": 2}, "longest": {"name": "longest"}, "likely": {"name": "loss"}},
    methods=("selection/quality-classifier", "selection/filter-network", "selection/loss", "selection/longest",
             "selection/random"),
    unequal="the model is tuned as long in all arms; what scoring costs beside is on the bill",
    minutes=3,
)
def quality_filter(lab: Lab, *, name: str, clean: float = 1.0, examples: int = 100, draws: int = 1) -> dict[str, float]:
    posts = [text for group in lab.unseen for text in lab.texts(group) if len(text) > CHARACTERS]
    drawn = lab.rng.permutation(posts).tolist()
    count = lab.scale(POOL, 40)
    pool = documents(lab, drawn[:count], 0.3)
    target = documents(lab, drawn[count:count + lab.scale(examples, 10)], clean)
    with TemporaryDirectory() as folder:
        signals = Signals(model=saved(lab, Path(folder)), meter=lab.meter)
        kept = [build("selection", name).select(pool, count // SHARE, signals=signals, target=target,
                                                seed=lab.seed + 100 * n).indices for n in range(draws)]
    steps = lab.scale(STEPS, 2)
    blocks = [block for rows in kept for block in
              lab.blocks([pool.rows[i]["text"] for i in rows], LENGTH, lab.scale(40, 4))]
    model = lab.tune(lab.language_model(), blocks, adapter="full", learning_rate=2e-3, steps=steps, batch_size=BATCH)
    test = lab.blocks([text for group in lab.unseen for text in lab.texts(group, "test")], LENGTH, lab.scale(80, 8))
    found = [np.mean([pool.sources[i].startswith("clean") for i in rows]) for rows in kept]
    return {"loss": lab.loss(model, test), "clean": float(np.mean(found)), "blocks": len(blocks)}


def documents(lab: Lab, posts: list[str], clean: float) -> Examples:
    """A share of the posts as they are; the others as long, of words by chance or of a few common words repeated."""
    words, times = np.unique(" ".join(posts).split(), return_counts=True)
    common = words[np.argsort(-times)[:20]]
    texts, names = [], []
    for number, place in enumerate(lab.rng.permutation(len(posts)).tolist()):
        post, name = posts[number], "clean" if place < clean * len(posts) else ("chance", "common")[place % 2]
        made = {"clean": post, "chance": " ".join(lab.rng.choice(words, 60)),
                "common": " ".join(lab.rng.choice(common, 3).tolist() * 40)}[name]
        texts.append(made[:lab.rng.integers(CHARACTERS // 2, CHARACTERS)])
        names.append(f"{name}:{number}")
    pool = read([{"text": text} for text in texts])
    return Examples(pool.rows, pool.layout, tuple(names))


def saved(lab: Lab, folder: Path) -> str:
    """The folder that the language model was put into, as any other checkpoint is."""
    lab.language_model().save_pretrained(folder)  # type: ignore[operator]
    lab.tokenizer().save_pretrained(folder)
    return str(folder)
