"""Search around what no other setting beats in quality and cost."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.planning.search import Range, Tried

SPACE = {"width": Range(4, 128, log=True, whole=True), "learning_rate": Range(1e-4, 0.3, log=True),
         "steps": Range(10, 400, log=True, whole=True)}
TRIES, BATCH = 40, 32
DEAREST = 128 * 400


@claim(
    papers=(117,),
    says="Width, learning rate and steps of a small network on handwritten digits, where a try costs its width times "
         "its steps; every search may spend what forty tries by chance cost on average. Searching around the front of "
         "accuracy and cost encloses more below that front (accuracy over the logarithm of cost) than random search, "
         "and than the same search that takes no note of cost.",
    holds_if=("enclosed: front > random", "enclosed: front > blind"),
    arms={"front": {"method": "around-the-front"}, "blind": {"method": "around-the-front", "blind": True},
          "random": {"method": "random"}},
    methods=("search/around-the-front", "search/random"),
    minutes=4,
)
def front_search(lab: Lab, *, method: str, blind: bool = False) -> dict[str, float]:
    """The one that is blind sees the same cost of all, and stops when the real ones are spent."""
    x, y, test_x, test_y = (torch.from_numpy(part) for part in lab.digits(900, 800))
    budget = lab.scale(TRIES, 8) * _mean_cost()
    tried: list[Tried] = []

    def run(setting: dict[str, float], share: float) -> tuple[float, float]:
        score = _accuracy(lab, setting, (x.flatten(1), y), (test_x.flatten(1), test_y))
        cost = setting["width"] * setting["steps"]
        spent = sum(one.cost for one in tried)
        tried.append(Tried(setting, share, score, cost))
        left = spent + cost < budget
        return score, (1e-6 if left else 1.0) if blind else cost

    build("search", method).search(run, SPACE, 1.0 if blind else budget, seed=lab.seed)  # type: ignore[attr-defined]
    return {"enclosed": _enclosed(tried)}


def _mean_cost() -> float:
    rng = np.random.default_rng(0)
    drawn = rng.random((10_000, 2))
    return float(np.mean([SPACE["width"].at(a) * SPACE["steps"].at(b) for a, b in drawn]))


def _accuracy(lab: Lab, setting: dict[str, float], learned: tuple[torch.Tensor, torch.Tensor],
              tested: tuple[torch.Tensor, torch.Tensor]) -> float:
    x, y = learned
    with torch.random.fork_rng():
        torch.manual_seed(lab.seed)
        model = nn.Sequential(nn.Linear(x.shape[1], int(setting["width"])), nn.ReLU(),
                              nn.Linear(int(setting["width"]), 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=setting["learning_rate"])
        for _ in range(int(setting["steps"])):
            rows = torch.randint(len(x), (BATCH,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.inference_mode():
        return float((model(tested[0]).argmax(1) == tested[1]).float().mean())


def _enclosed(tried: list[Tried]) -> float:
    """The mean, over the logarithm of the cost, of the best accuracy that was had for so much."""
    grid = np.geomspace(4 * 10, DEAREST, 200)
    return float(np.mean([max((one.score for one in tried if one.cost <= cost), default=0.0) for cost in grid]))
