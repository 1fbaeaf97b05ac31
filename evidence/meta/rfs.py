"""A plainly trained embedding with a linear classifier does as well as meta-learning."""

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.meta import Episode, Tasks

WAY, SHOTS, QUERIES = 4, 5, 5
BASE = 6  # of the ten digits, drawn by the seed; the other four are the new ones


@claim(
    papers=(185,),
    says="An embedding that was trained to tell six digits apart, with logistic regression on five examples each of "
         "the other four, is as accurate on these as MAML and as prototypical networks trained with as many passes; a "
         "second generation, distilled from the first, is no worse.",
    holds_if=("accuracy: rfs > maml - 0.01", "accuracy: rfs > prototypes - 0.01", "accuracy: distilled > rfs - 0.01"),
    arms={"rfs": {"name": "rfs"}, "distilled": {"name": "rfs-distilled"}, "maml": {"name": "maml"},
          "prototypes": {"name": "prototypes"}},  # all with the rate that was the better of two for each on seed 1003
    methods=("meta/rfs", "meta/rfs-distilled", "meta/maml", "meta/prototypes"),
    unequal="the second generation is a second training by definition; the others are at equal cost",
    minutes=6,
)
def rfs(lab: Lab, *, name: str) -> dict[str, float]:
    x, y, test_x, test_y = lab.mnist(3000, 1500)
    order = lab.rng.permutation(10)
    known, new = sampler(x, y, order[:BASE]), sampler(test_x, test_y, order[BASE:])
    torch.manual_seed(lab.seed)
    embedding = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                              nn.Linear(288, 64))
    episodes = lab.scale(800, 8)
    if name == "maml":
        model, passes = nn.Sequential(embedding, nn.ReLU(), nn.Linear(64, WAY)), (1.0, 1.5)
        options = {"inner_rate": 0.1, "steps": 5, "tasks_per_step": 4}
        episodes = round(episodes * 3 / 4)
    else:
        model, passes, options = embedding, (1.0, 1.0), {"tasks_per_step": 4}
        passes = (3.0, 2.0) if name == "rfs-distilled" else passes
    method = build("meta", name, {**options, "meta_rate": 3e-3, "meta_steps": episodes // 4})
    learner = method.fit(model, known, seed=lab.seed)
    rows = 4 * method.meta_steps * WAY * (SHOTS + QUERIES)
    lab.spent(forward=round(passes[0] * rows), backward=round(passes[1] * rows))
    drawn = [new(np.random.default_rng([lab.seed, 1, n])) for n in range(lab.scale(100, 4))]
    return {"accuracy": float(np.mean([(learner.predict(one).argmax(1) == one.query_y).mean() for one in drawn]))}


def sampler(x: np.ndarray, y: np.ndarray, digits: np.ndarray) -> Tasks:
    """Draws episodes of four of the digits."""
    of_class = [x[y == digit] for digit in digits]

    def draw(rng: np.random.Generator) -> Episode:
        classes = rng.permutation(len(digits))[:WAY]
        rows = np.stack([of_class[c][rng.permutation(len(of_class[c]))[:SHOTS + QUERIES]] for c in classes])
        support, query = rows[:, :SHOTS], rows[:, SHOTS:]
        labels = np.repeat(np.arange(WAY), SHOTS)
        return Episode(support.reshape(-1, *x.shape[1:]), labels, query.reshape(-1, *x.shape[1:]), labels,
                       known_as=classes, known=len(digits))

    return draw
