"""Ways of training are raced to targets, each with as many settings to choose from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.evidence import Lab, claim

STEPS, EVERY, BATCH, REPEATS = 100, 5, 32, (0, 1)
DIVERGED = -1.0  # the score of a run whose loss is no number any more; no target is as low
RATES = {"adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), "galore": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
         "decayed": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), "momentum": (1e-2, 3e-2, 0.1, 0.3, 1.0),
         "hopeless": (1e-7, 2e-7, 3e-7, 5e-7, 1e-6)}


@claim(
    papers=(70,),
    says="AdamW, AdamW with a linear decay, GaLore and SGD with momentum, five learning rates each, are raced "
         "in processor time to targets on three workloads (small digits, large ones, small ones through a bottleneck), "
         "and summed up as performance profiles. Each is ahead of AdamW with rates that are hopelessly low; AdamW and "
         "momentum, which differ in nothing but the update, are apart, AdamW ahead; and when all is run again, no "
         "score moves by more than 0.15.",
    holds_if=("profile: adamw > hopeless", "profile: decayed > hopeless", "profile: galore > hopeless",
              "profile: momentum > hopeless", "profile: adamw > momentum", "moved: adamw < 0.15",
              "moved: decayed < 0.15", "moved: galore < 0.15", "moved: momentum < 0.15"),
    arms={way: {"way": way} for way in RATES},
    methods=("protocol/time-to-target", "optimizer/adamw", "optimizer/galore", "schedule/linear"),
    minutes=4,
)
def time_to_target(lab: Lab, *, way: str) -> dict[str, float]:
    """A profile is of all ways together, so that each seed's race is run once and kept for all arms."""
    def make(folder: Path) -> None:
        torch.set_num_threads(1)
        found = [_raced(lab) for _ in range(2)]
        atomic_write(folder / "profiles.json", json.dumps(found))

    asked = [lab.seed, lab.smoke, STEPS, EVERY, BATCH, REPEATS, RATES, DIVERGED]
    kept = cache().step("time-to-target", asked, make)
    first, again = json.loads((kept / "profiles.json").read_text())
    return {"profile": first[way], "moved": abs(first[way] - again[way])}


def _raced(lab: Lab) -> dict[str, float]:
    loads: dict[str, Callable[[], Any]] = {"digits": lambda: _digits(lab), "large": lambda: _large(lab),
                                           "bottleneck": lambda: _bottleneck(lab)}
    made = {name: load() for name, load in loads.items()}

    def run(way: str, setting: Any, workload: str, seed: int) -> list[tuple[float, float]]:
        return _curve(lab, way, setting["rate"], made[workload], seed)

    settings = {way: [{"rate": rate} for rate in rates] for way, rates in RATES.items()}
    judged = build("protocol", "time-to-target").judge(run, settings, list(loads), seeds=lab.scale(REPEATS, (0,)))
    return dict(judged.scores)


def _curve(lab: Lab, way: str, rate: float, load: Any, seed: int) -> list[tuple[float, float]]:
    """Seconds of training, looks left out, and the score on held-out rows, as long as the loss is a number."""
    model_of, (x, y), score, loss = load
    steps, curve, spent = lab.scale(STEPS, 12), [], 0.0
    with torch.random.fork_rng():
        torch.manual_seed(1000 * lab.seed + seed)
        model = model_of()
        if way == "momentum":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        else:
            optimizer = build("optimizer", "galore" if way == "galore" else "adamw", {"learning_rate": rate}).build(
                model.named_parameters(), steps)
        schedule = build("schedule", "linear" if way == "decayed" else "constant", {"warmup": 0.0})
        for step in range(steps):
            begun = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule.factor(step, steps)
            rows = torch.randint(len(x), (BATCH,))
            optimizer.zero_grad()
            found = loss(model(x[rows]), y[rows])
            if not torch.isfinite(found):
                return [*curve, (spent, DIVERGED)]
            found.backward()
            optimizer.step()
            spent += time.process_time() - begun
            if (step + 1) % EVERY == 0:
                with torch.inference_mode():
                    curve.append((spent, max(DIVERGED, score(model))))
    return curve


def _network(inputs: int, outputs: int, width: int = 128) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, outputs))


def _classified(x: Any, y: Any, test_x: Any, test_y: Any, classes: int) -> Any:
    rows, labels, held, wanted = (torch.from_numpy(part) for part in (x, y, test_x, test_y))
    return (lambda: _network(rows.shape[1], classes), (rows, labels),
            lambda model: float((model(held).argmax(1) == wanted).float().mean()), nn.functional.cross_entropy)


def _digits(lab: Lab) -> Any:
    x, y, test_x, test_y = lab.digits(900, 800)
    return _classified(x.reshape(len(x), -1), y, test_x.reshape(len(test_x), -1), test_y, 10)


def _large(lab: Lab) -> Any:
    x, y, test_x, test_y = lab.mnist(2000, 1000)
    return _classified(x.reshape(len(x), -1), y, test_x.reshape(len(test_x), -1), test_y, 10)


def _bottleneck(lab: Lab) -> Any:
    """Digits through 16 numbers and back; the score is the share of their variance that comes back."""
    x, _, test_x, _ = lab.digits(900, 800)
    rows, held = (torch.from_numpy(part.reshape(len(part), -1)) for part in (x, test_x))
    spread = float(((held - rows.mean(0)) ** 2).mean())

    def score(model: nn.Module) -> float:
        return 1 - float(((model(held) - held) ** 2).mean()) / spread

    def made() -> nn.Module:
        return nn.Sequential(_network(rows.shape[1], 16), _network(16, rows.shape[1]))

    return made, (rows, rows), score, nn.functional.mse_loss
