"""Documents that share facts, one after another, teach a model to look facts up in its context."""

from __future__ import annotations

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

FACTS, DOCUMENTS, BATCH = 6, 4, 16
KEYS, VALUES, VOCABULARY = 2, 34, 66  # where their tokens begin, 32 of each


@claim(
    papers=(559,),
    says="A small language model that is trained from scratch on sequences of related documents, found by their tokens "
         "alone, predicts what a document shares with those before it with a tenth less loss than one that was trained "
         "as long on sequences of random documents, for facts that neither has ever seen.",
    holds_if=("loss in context: related < 0.9 * random",),
    arms={"related": {"packing": "related"}, "random": {"packing": "concatenated"}},
    search={"learning_rate": (3e-3, 6e-3)}, tuned_for="loss in context",
    methods=("packing/related", "packing/concatenated"),
    minutes=4,
)
def in_context(lab: Lab, *, packing: str, learning_rate: float) -> dict[str, float]:
    train = [one for topic in range(lab.scale(800, 20)) for one in documents(lab, topic)]
    length = DOCUMENTS * len(train[0].ids)
    small = lab.scratch(layers=2, width=64, vocabulary=VOCABULARY)
    model = lab.tune(small, train, adapter="full", packing=packing, pack_tokens=length, batch_size=BATCH,
                     steps=lab.scale(300, 2), learning_rate=learning_rate)
    return {"loss in context": lab.loss(model, [later(documents(lab, 0)) for _ in range(100)])}


def documents(lab: Lab, topic: int) -> list[Encoded]:
    """Documents of one topic: the same facts, each a key and its value, each time in another order."""
    keys = (KEYS + lab.rng.choice(32, size=FACTS, replace=False)).tolist()
    values = (VALUES + lab.rng.choice(32, size=FACTS, replace=False)).tolist()
    orders = [lab.rng.permutation(FACTS) for _ in range(DOCUMENTS)]
    told: list[list[int]] = [[1, *(token for i in order for token in (keys[i], values[i]))] for order in orders]
    return [Encoded(ids, [True] * len(ids), row=topic) for ids in told]


def later(topic: list[Encoded]) -> Encoded:
    """The documents of a topic in one sequence; only the values in those after the first count."""
    ids = [token for one in topic for token in one.ids]
    first = len(topic[0].ids)
    return Encoded(ids, [at >= first and token >= VALUES for at, token in enumerate(ids)])
