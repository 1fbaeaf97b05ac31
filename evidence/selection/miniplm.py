"""What a better model finds likelier than a worse one is worth learning from."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.signals import Signals

CHARACTERS, LENGTH, BATCH, STEPS = 300, 64, 8, 140


@claim(
    papers=(541,),
    says="Half of a pool is junk: words by chance, and common words repeated. The half that a language model finds "
         "likelier than one layer trained on the pool teaches a small model more than a half by chance, drawn once "
         "or anew, than what the language model finds likeliest or least likely, and than the longest; less than a "
         "tenth of it is either kind of junk.",
    holds_if=("loss: difference < random", "loss: difference < redrawn", "loss: difference < likely",
              "loss: difference < unlikely", "loss: difference < longest", "chance: difference < 0.1",
              "common: difference < 0.1"),
    arms={"difference": {"name": "miniplm", "reference": True}, "random": {"name": "random"},
          "redrawn": {"name": "random", "draws": 2}, "likely": {"name": "loss"},
          "unlikely": {"name": "loss", "rule": "highest"}, "longest": {"name": "longest"}},
    methods=("selection/miniplm", "selection/loss", "selection/longest", "selection/random"),
    unequal="the students learn as long; what scoring costs beside is on the bill",
    minutes=4,
)
def miniplm(lab: Lab, *, name: str, reference: bool = False, draws: int = 1, **options: Any) -> dict[str, float]:
    pool = documents(lab, lab.scale(600, 60))
    with TemporaryDirectory() as folder:
        if reference:
            sample = lab.blocks([row["text"] for row in pool.rows], LENGTH, lab.scale(160, 16))
            weak = lab.tune(lab.scratch(layers=1, width=64), sample, adapter="full", learning_rate=8e-3,
                            batch_size=BATCH, epochs=1)
            options["reference"] = saved(lab, weak, Path(folder) / "weak")
        signals = Signals(model=saved(lab, lab.language_model(), Path(folder) / "strong"), meter=lab.meter)
        method = build("selection", name, options)
        kept = [method.select(pool, len(pool) // 2, signals=signals, seed=lab.seed + 100 * n).indices
                for n in range(draws)]
    steps = lab.scale(STEPS, 2)
    parts = [lab.blocks([pool.rows[i]["text"] for i in rows], LENGTH, steps * BATCH // 4) for rows in kept]
    blocks = [block for part in parts for block in part]
    student = lab.tune(lab.scratch(layers=2, width=64), blocks, adapter="full", learning_rate=8e-3, steps=steps,
                       batch_size=BATCH)
    test = lab.blocks(posts(lab)[1::2], LENGTH, lab.scale(200, 8))
    kinds = np.array([source.split(":")[0] for source in pool.sources])[kept[0]]
    return {"loss": lab.loss(student, test), "blocks": len(blocks),
            **{kind: float((kinds == kind).mean()) for kind in ("chance", "common")}}


def posts(lab: Lab) -> list[str]:
    """Of the groups that the language model knows, but not these."""
    groups = [group for group in lab.domains() if group not in lab.unseen]
    return [text for group in groups for text in lab.texts(group, "test") if len(text) > CHARACTERS]


def documents(lab: Lab, count: int) -> Examples:
    """Half are posts; a quarter each are words by chance, and a few common words repeated."""
    found = lab.rng.permutation(posts(lab)[::2])[:count]
    words, times = np.unique(" ".join(found).split(), return_counts=True)
    common = words[np.argsort(-times)[:20]]
    texts, names = [], []
    for post, place in zip(found.tolist(), lab.rng.permutation(len(found)).tolist(), strict=True):
        name = ("clean", "chance", "clean", "common")[place % 4]
        made = {"clean": post, "chance": " ".join(lab.rng.choice(words, 80)),
                "common": " ".join(lab.rng.choice(common, 3).tolist() * 60)}[name]
        texts.append(made[:lab.rng.integers(CHARACTERS // 2, CHARACTERS)])
        names.append(name)
    pool = read([{"text": text} for text in texts])
    return Examples(pool.rows, pool.layout, tuple(f"{name}:{i}" for i, name in enumerate(names)))


def saved(lab: Lab, model: nn.Module, folder: Path) -> str:
    """The folder that a model and the lab's tokenizer were put into, as any other checkpoint is."""
    model.save_pretrained(folder)  # type: ignore[operator]
    lab.tokenizer().save_pretrained(folder)
    return str(folder)
