"""A language model learns to learn from the examples before a question."""

from collections.abc import Callable

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.meta import Episode, Reader, Tasks

TOPICS = {"comp.os.ms-windows.misc": "windows", "comp.windows.x": "server", "misc.forsale": "sale", "rec.autos": "car",
          "rec.motorcycles": "bike", "rec.sport.baseball": "game", "sci.crypt": "key", "sci.electronics": "power",
          "sci.space": "space", "talk.politics.guns": "gun", "comp.sys.mac.hardware": "mac", "alt.atheism": "god"}
HELD_OUT, EPISODES = 4, 600


@claim(
    papers=(101,),
    says="A small language model that was tuned on episodes of two topics (an example of each with its topic as a "
         "word, then a question) tells two topics that were never among them apart more often than the same model does "
         "without tuning, and depends less on the order of the examples.",
    holds_if=("accuracy: tuned > raw", "change by order: tuned < raw"),
    arms={"tuned": {"name": "in-context"}, "raw": {"name": "raw-in-context"}},
    search={"tuned": {"tokens": (10, 20), "learning_rate": (1e-3, 3e-3)}, "raw": {"tokens": (5, 10, 20, 40)}},
    tuned_for="accuracy", better="higher",
    methods=("meta/in-context", "meta/raw-in-context"),
    unequal="the claim is that tuning pays: the control is the model as it is, and takes none",
    minutes=4,
)
def in_context_tuning(lab: Lab, *, name: str, tokens: int, learning_rate: float | None = None) -> dict[str, float]:
    topics = [list(TOPICS)[i] for i in lab.rng.permutation(len(TOPICS))]
    options = {"episodes": lab.scale(EPISODES, 4), "adapter": "full", "learning_rate": learning_rate}
    method = build("meta", name, {**(options if learning_rate else {}), "example_tokens": tokens})
    draw = counting(lab, episodes(lab, topics[HELD_OUT:], "train"), tokens)
    learner = method.fit(Reader(lab.language_model(), lab.tokenizer()), draw, seed=lab.seed)
    ask = episodes(lab, topics[:HELD_OUT], "test")
    drawn = [ask(np.random.default_rng([lab.seed, n])) for n in range(lab.scale(200, 3))]
    said = [learner.predict(one) for one in drawn]
    turned = [learner.predict(Episode(one.support_x[::-1], one.support_y[::-1], one.query_x, one.query_y,
                                      words=one.words)) for one in drawn]
    right = [scores.argmax(1) == one.query_y for scores, one in zip(said, drawn, strict=True)]
    moved = [np.abs(np.exp(a) - np.exp(b)).max() for a, b in zip(said, turned, strict=True)]
    return {"accuracy": float(np.mean(right)), "change by order": float(np.mean(moved))}


def episodes(lab: Lab, topics: list[str], part: str) -> Tasks:
    """Two of the topics, an example of each, and a question."""
    texts = {topic: [text for text in lab.texts(topic, part) if len(text) > 100] for topic in topics}

    def draw(rng: np.random.Generator) -> Episode:
        pair = [topics[i] for i in rng.permutation(len(topics))[:2]]
        support, asked = rng.permutation(2), rng.integers(2)
        chosen = [texts[pair[c]][rng.integers(len(texts[pair[c]]))] for c in [*support, asked]]
        return Episode(chosen[:2], support, chosen[2:], np.array([asked]), words=tuple(TOPICS[t] for t in pair))

    return draw


def counting(lab: Lab, tasks: Tasks, tokens: int) -> Callable[[np.random.Generator], Episode]:
    """The same, with every text that is trained on put on the bill."""
    def draw(rng: np.random.Generator) -> Episode:
        lab.spent(forward=3 * tokens, backward=3 * tokens)
        return tasks(rng)

    return draw
