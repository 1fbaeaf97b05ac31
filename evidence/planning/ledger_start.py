"""A search that begins where runs of other tasks did well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.planning.search import Past, Range

SPACE = {"C": Range(1e-3, 1e3, log=True), "gamma": Range(1e-6, 10, log=True)}
TASKS, LOGGED, BUDGET = 10, 40, 3.0  # tasks, runs of each in the ledger, whole fits that a search may spend
LEARNED, JUDGED, GRID = 150, 300, 12

Task = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@claim(
    papers=(103, 120, 177),
    says="Support vector machines on ten tasks (groups of handwritten digits, whole or coarsened, scaled by different "
         "factors), each held out in turn while forty runs of each of the others are in the ledger. Within the cost of "
         "three whole fits, halving that begins with what a forest of the ledger's runs thinks best ends nearer to the "
         "best setting than halving from random settings, and than random search.",
    holds_if=("regret: ledger < halving", "regret: ledger < random"),
    arms={"ledger": {"method": "halving-from-ledger"}, "halving": {"method": "halving"},
          "random": {"method": "random"}},
    methods=("search/halving-from-ledger", "search/halving", "search/random"),
    minutes=4,
)
def ledger_start(lab: Lab, *, method: str) -> dict[str, float]:
    """A share of the work is that share of the training rows; regret is of accuracy, against a grid of settings."""
    tasks = [_task(lab) for _ in range(lab.scale(TASKS, 3))]
    told = [_told(task) for task in tasks]
    logged = [[(setting, _accuracy(task, setting, 1.0)) for setting in _drawn(lab, lab.scale(LOGGED, 6))]
              for task in tasks]
    lost = []
    for held, task in enumerate(tasks):
        past = [Past(told[other], setting, score) for other in range(len(tasks)) if other != held
                for setting, score in logged[other]]
        found = build("search", method).search(  # type: ignore[attr-defined]
            _run(task), SPACE, BUDGET, past=past, task=told[held], seed=lab.seed)
        places = np.linspace(0, 1, lab.scale(GRID, 4))
        best = max(_accuracy(task, {"C": SPACE["C"].at(a), "gamma": SPACE["gamma"].at(b)}, 1.0)
                   for a in places for b in places)
        lost.append(best - _accuracy(task, dict(found.best.setting), 1.0))
    return {"regret": float(np.mean(lost))}


def _run(task: Task) -> Callable[[dict[str, float], float], tuple[float, float]]:
    return lambda setting, share: (_accuracy(task, setting, share), share)


def _drawn(lab: Lab, count: int) -> list[dict[str, float]]:
    return [{name: one.at(float(lab.rng.random())) for name, one in SPACE.items()} for _ in range(count)]


def _task(lab: Lab) -> Task:
    """Some digits, seen through some of the pixels or all, in some unit."""
    x, y, test_x, test_y = lab.digits(900, 890)
    digits = lab.rng.permutation(10)[:int(lab.rng.integers(3, 8))]
    seen, unit = lab.rng.permutation(64)[:int(lab.rng.choice([8, 16, 64]))], 10.0 ** lab.rng.uniform(-1, 1)
    parts = []
    for rows, labels, most in ((x, y, LEARNED), (test_x, test_y, JUDGED)):
        kept = lab.rng.permutation(np.flatnonzero(np.isin(labels, digits)))[:most]
        parts += [unit * rows.reshape(len(rows), -1)[kept][:, seen], labels[kept]]
    return parts[0], parts[1], parts[2], parts[3]


def _told(task: Task) -> tuple[float, ...]:
    """What tells a task from others before anything is fitted to it: columns, labels, and how far rows lie apart."""
    x, y, *_ = task
    return float(np.log(x.shape[1])), float(len(np.unique(y))), float(np.log(x.var() * x.shape[1]))


def _accuracy(task: Task, setting: dict[str, float], share: float) -> float:
    from sklearn.svm import SVC

    x, y, test_x, test_y = task
    count = max(round(share * len(x)), 10)
    if len(np.unique(y[:count])) < 2:
        return 0.0
    fitted = SVC(C=setting["C"], gamma=setting["gamma"]).fit(x[:count], y[:count])
    return float(np.mean(fitted.predict(test_x) == test_y))
