"""Clean text alone while there is little training, noisy text as well when there is much: told from each pool alone."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.evidence.letters import Letters, learned, loss, stream
from scrimp.planning.allocation import Piloted

CLEAN, NOISY, REPLACED = 16_000, 128_000, 0.1  # bytes of each pool; share of the noisy bytes that are drawn anew
WIDTH, BATCH, RATE = 64, 64, 3e-3
EVERY, STEPS, PILOTED = 50, 2000, 500  # between looks, in all, and up to which the law sees them
POOLS = {"clean": ("clean",), "noisy": ("noisy",), "both": ("clean", "noisy")}


@claim(
    papers=(340,),
    says="A small language model over bytes is trained on a little clean text, on eight times as much of which a tenth "
         "of the bytes is replaced by chance, and on both. A law of each pool alone, fitted to the first quarter of "
         "training, foretells which of the three is best at forty lengths of training: what it takes has a lower "
         "loss, on average over these, than the clean text alone and than both; and it says within a factor of two "
         "when both overtake the clean text.",
    holds_if=("lead over clean: law > 0", "lead over both: law > 0", "doublings between crossings: law < 1"),
    arms={"law": {}},
    methods=("allocation/pools-by-utility",),
    minutes=2,
)
def pool_choice(lab: Lab) -> dict[str, float]:
    """Losses are of clean text that was never trained on."""
    text, test = stream(lab, "train"), stream(lab, "test")
    start = int(lab.rng.integers(0, len(text) - CLEAN - NOISY))
    noisy = text[start + CLEAN:start + CLEAN + NOISY].copy()
    wrong = lab.rng.random(NOISY) < REPLACED
    noisy[wrong] = lab.rng.permutation(noisy[wrong])
    pools = {"clean": text[start:start + CLEAN], "noisy": noisy}
    lengths = range(EVERY, lab.scale(STEPS, 10 * EVERY) + 1, EVERY)
    came: dict[str, list[float]] = {name: [] for name in POOLS}
    for name, chosen in POOLS.items():
        model = Letters(WIDTH, lab.seed)

        def look(step: int, name: str = name, model: Letters = model) -> None:
            if step in lengths:
                came[name].append(loss(model, test))

        learned(lab, model, np.concatenate([pools[one] for one in chosen]), steps=lengths[-1], batch=BATCH,
                learning_rate=RATE, look=look)
    seen = [float(BATCH * step) for step in lengths]
    pilots = [Piloted({one: float(one == name) for one in pools}, spent, found)
              for name in pools for spent, found in zip(seen[:PILOTED // EVERY], came[name], strict=False)]
    method = build("allocation", "pools-by-utility", {"sizes": {"clean": CLEAN, "noisy": NOISY}})
    law = method.fitted(dict.fromkeys(pools, 1.0), pilots)
    told = {name: [law(chosen, spent) for spent in seen] for name, chosen in POOLS.items()}
    taken = [min(POOLS, key=lambda name: told[name][place]) for place in range(len(seen))]
    mean = {name: float(np.mean(losses)) for name, losses in came.items()}
    reached = float(np.mean([came[name][place] for place, name in enumerate(taken)]))
    crossings = [_crossing(seen, losses["clean"], losses["both"]) for losses in (told, came)]
    return {"lead over clean": mean["clean"] - reached, "lead over both": mean["both"] - reached,
            "behind the best": reached - float(np.mean(np.min(list(came.values()), axis=0))),
            "doublings between crossings": abs(float(np.log2(crossings[0] / crossings[1]))),
            "crossing told": crossings[0], "crossing": crossings[1]}


def _crossing(seen: list[float], clean: list[float], both: list[float]) -> float:
    """From where on both are no worse than the clean text alone; beyond the last length, twice as far."""
    worse = [spent for spent, a, b in zip(seen, clean, both, strict=True) if b > a]
    return next((spent for spent in seen if spent > max(worse)), 2 * seen[-1]) if worse else seen[0]
