"""Options of continual learners are tuned on other data than what they are judged on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

Array = np.ndarray
TASKS, CLASSES = 3, 2  # of each stream; classes of each task
DRAWS, REPEATS = 6, (0, 1)  # divisions of the classes into streams, and orders in each
PASSES, BATCH, KEPT = 10, 16, 5  # KEPT rows of each old class can be replayed
RATES, STRENGTHS = (0.3, 3.0), {"replay": (0.1, 0.3, 0.6), "distilled": (0.1, 1.0, 10.0), "anchored": (0.01, 0.1, 1.0)}


class Stream(NamedTuple):
    """Tasks one after another, each with its classes' rows, and the test rows of all."""

    tasks: tuple[tuple[Array, Array], ...]
    test_x: Array
    test_y: Array


@claim(
    papers=(234,),
    says="Three ways to learn written digits of two collections class by class, six settings each. The accuracy that "
         "is reported of the setting that was best on the very stream is more above what the same setting then reaches "
         "on a third stream than if the setting had been chosen on another stream, and it is above it by more than "
         "nothing.",
    holds_if=("optimism: in-place > elsewhere", "optimism: in-place > 0"),
    arms={"in-place": {"protocol": "tuned-in-place"}, "elsewhere": {"protocol": "tuned-elsewhere"}},
    methods=("protocol/tuned-elsewhere", "protocol/tuned-in-place", "continual/replay"),
    unequal="Both train as often; classes have more rows or fewer.",
    minutes=2,
)
def transferred_options(lab: Lab, *, protocol: str) -> dict[str, float]:
    """Streams are of other groups, and of as many; what differs in difficulty between them is so for both arms.

    Besides: by how much the reported accuracies of both protocols are apart, and how often two ways stand in the order
    in which they come out on the third stream.
    """
    x, y, test_x, test_y = _pixels(lab)
    settings = {way: [{"rate": rate, "strength": strength} for rate in RATES for strength in strengths]
                for way, strengths in STRENGTHS.items()}
    method = build("protocol", protocol)
    said, came, agree = [], [], []
    for _ in range(lab.scale(DRAWS, 1)):
        groups = lab.rng.permutation(20)[:3 * TASKS * CLASSES].reshape(3, TASKS, CLASSES)
        streams = {name: _stream(some, x, y, test_x, test_y) for name, some in zip("ABC", groups, strict=True)}

        def run(way: str, setting: dict[str, float], workload: str, seed: int,
                streams: dict[str, Stream] = streams) -> list[tuple[float, float]]:
            return [(1.0, _accuracy(lab, way, streams[workload], seed=seed, **setting))]

        judged = method.judge(run, settings, ["A", "B"], seeds=REPEATS)
        later = {way: np.mean([run(way, judged.chosen[way]["B"], "C", seed)[0][1] for seed in REPEATS])
                 for way in settings}
        said.append(np.mean(list(judged.scores.values())))
        came.append(np.mean(list(later.values())))
        agree.append(np.mean([(judged.scores[a] - judged.scores[b]) * (later[a] - later[b]) > 0
                              for a in settings for b in settings if a < b]))
    return {"optimism": float(np.mean(said) - np.mean(came)), "reported": float(np.mean(said)),
            "order": float(np.mean(agree))}


def _pixels(lab: Lab) -> tuple[Array, Array, Array, Array]:
    """Digits of 8x8 and of 28x28 pixels, the latter averaged to 7x7, each about their mean and of unit length."""
    parts = []
    for number, found in enumerate((lab.digits(*lab.scale((900, 800), (200, 200))),
                                    lab.mnist(*lab.scale((900, 800), (200, 200))))):
        x, y, test_x, test_y = found
        rows = [_few(one).reshape(len(one), -1) for one in (x, test_x)]
        rows = [one - rows[0].mean(axis=0) for one in rows]
        rows = [np.pad(one / np.linalg.norm(one, axis=1, keepdims=True), ((0, 0), (0, 64 - one.shape[1])))
                for one in rows]
        parts.append((rows[0], y + 10 * number, rows[1], test_y + 10 * number))
    first, second = parts
    return tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))  # type: ignore[return-value]


def _few(images: Array) -> Array:
    if images.shape[-1] == 8:
        return images
    return images.reshape(len(images), 7, 4, 7, 4).mean(axis=(2, 4))


def _stream(groups: Array, x: Array, y: Array, test_x: Array, test_y: Array) -> Stream:
    """The groups of all tasks, numbered from 0 in order."""
    number = {int(group): i for i, group in enumerate(groups.ravel())}

    def part(of: Array, rows: Array, labels: Array) -> tuple[Array, Array]:
        known = np.flatnonzero(np.isin(labels, of))
        return rows[known], np.array([number[int(one)] for one in labels[known]])

    return Stream(tuple(part(task, x, y) for task in groups), *part(groups.ravel(), test_x, test_y))


def _accuracy(lab: Lab, way: str, stream: Stream, *, rate: float, strength: float, seed: int) -> float:
    """Of a linear softmax head after the last task, on the classes of all."""
    rng, width = np.random.default_rng([lab.seed, seed]), stream.test_x.shape[1]
    weight = np.zeros((TASKS * CLASSES, width), np.float32)
    kept: list[tuple[Array, Array]] = []
    for x, y in stream.tasks:
        before, known = weight.copy(), len(kept) * CLASSES
        rows, labels = (x, y) if way != "replay" or not kept else _replayed(x, y, kept, strength, rng)
        for _ in range(PASSES):
            for batch in np.array_split(rng.permutation(len(rows)), max(len(rows) // BATCH, 1)):
                some, wanted = rows[batch], np.eye(len(weight), dtype=np.float32)[labels[batch]]
                gradient = (_softmax(some @ weight.T, known + CLASSES) - wanted).T @ some / len(batch)
                if way == "distilled" and known:
                    told = _softmax(some @ before.T, known) - _softmax(some @ weight.T, known)
                    gradient -= strength * told.T @ some / len(batch)
                if way == "anchored" and known:
                    gradient[:known] += strength * (weight - before)[:known]
                weight -= rate * gradient
            lab.spent(forward=len(rows), backward=len(rows))
        some = rng.permutation(len(x))[:KEPT * CLASSES]
        kept.append((x[some], y[some]))
    return float(np.mean((stream.test_x @ weight.T).argmax(1) == stream.test_y))


def _replayed(x: Array, y: Array, kept: list[tuple[Array, Array]], share: float,
              rng: np.random.Generator) -> tuple[Array, Array]:
    """The new rows with old ones among them, cut to as many as the new ones are."""
    old_x, old_y = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = build("continual", "replay", {"share": share}).order(len(x), len(old_x), seed=int(rng.integers(2**31)))
    order = order[:len(x)]
    return np.concatenate([x, old_x])[order], np.concatenate([y, old_y])[order]


def _softmax(odds: Array, first: int) -> Array:
    """Probabilities of the first classes, and 0 for those that have not come yet."""
    found = np.zeros_like(odds)
    powers = np.exp(odds[:, :first] - odds[:, :first].max(axis=1, keepdims=True))
    found[:, :first] = powers / powers.sum(axis=1, keepdims=True)
    return found
