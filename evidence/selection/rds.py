"""Rows near a target by pooled states of the model teach more of it than others."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read

SHARE, STEPS, BATCH = 20, 16, 4  # one row in so many is kept
WORDS = 40  # of a post: about 70 tokens


@claim(
    papers=(52,),
    says="Of posts from twenty newsgroups one in twenty is kept, and a small language model tuned on them is tested on "
         "one group that it has never seen, of which sixteen posts are the target. Posts nearest to these by states "
         "weighted by position, dealt in turns, teach more than posts drawn by chance and than those chosen by the "
         "last state; no less than those by the plain mean; and choosing from a pool of twice the size does no harm.",
    holds_if=("loss: rds < random", "loss: rds < last", "loss: rds < mean + 0.01", "loss: larger < rds + 0.01"),
    arms={"rds": {"method": "rds"}, "mean": {"method": "rds", "pooling": "mean"},
          "last": {"method": "rds", "pooling": "last"}, "random": {"method": "random"},
          "longer": {"method": "random", "longer": 3}, "larger": {"method": "rds", "pool": 2}},
    methods=("selection/rds", "selection/random"),
    unequal="Scoring is a forward pass over the pool, which choosing by chance does without: 'longer' is chance with "
            "three times the rows and the steps, for what scoring costs.",
    minutes=4,
)
def rds(lab: Lab, *, method: str, pool: int = 1, longer: int = 1,
        **options: str) -> dict[str, float]:
    domain = lab.unseen[lab.seed % len(lab.unseen)]
    cut = {part: [cut_short(text) for text in lab.texts(domain, part)] for part in ("train", "test")}
    aims = read([{"text": text} for text in cut["test"][:16]])
    each = lab.scale(40, 4)
    drawn = [cut_short(text) for one in lab.domains() for text in some(lab, one, each * pool)]
    rows, model = read([{"text": text} for text in drawn]), lab.language_model()
    keep = longer * 20 * each // SHARE
    found = build("selection", method, options).select(rows, keep, signals=lab.signals(model), target=aims,
                                                       seed=lab.seed)
    steps = longer * lab.scale(STEPS, 2)
    blocks = lab.blocks([rows[i]["text"] for i in found.indices])
    tuned = lab.tune(model, blocks, adapter="full", learning_rate=2e-3, steps=steps, batch_size=BATCH)
    ours = {row["text"] for row in rows.rows} & set(cut["train"])
    return {"loss": lab.loss(tuned, lab.blocks(cut["test"][16:], count=lab.scale(64, 4))),
            "share of the group": sum(rows[i]["text"] in ours for i in found.indices) / keep}


def some(lab: Lab, domain: str, count: int) -> list[str]:
    texts = lab.texts(domain)
    return [texts[i] for i in lab.rng.permutation(len(texts))[:count]]


def cut_short(text: str) -> str:
    return " ".join(text.split()[:WORDS])
