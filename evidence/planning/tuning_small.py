"""What the beginning of a run tells of its end, and whether phases are worth their trouble."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.objectives import TorchBatch

if TYPE_CHECKING:
    from torch import nn

BATCHES, RATES = (8, 32), (5e-4, 2e-3, 8e-3)  # the six settings
ROWS, TESTED = 400, 150  # of each of two kinds
EARLY = 5  # a share of one in so many


class Ran(NamedTuple):
    """A run: the training loss and the gradient's norm at each update, and the loss on held-out rows after it."""

    losses: list[float]
    norms: list[float]
    end: float


@claim(
    papers=(19,),
    says="A small language model is tuned on additions and on newsgroup posts for one epoch, with batches of 8 or 32 "
         "and three learning rates. Over these six settings, a lower norm of the gradient and a higher training loss "
         "in the first fifth go with a lower loss at the end; the half of the runs that both foretell holds a better "
         "one than a half by chance; the best of the large batches, whose rate is no higher, beats the best of the "
         "small ones; and learning both kinds at once is within two per cent of learning the easier one first.",
    holds_if=("norms: grid > 0", "losses: grid < 0", "spared: grid > 0", "large: grid > 0",
              "loss: stacked < 1.02 * phased"),
    arms={"grid": {"how": "grid"}, "stacked": {"how": "stacked"}, "phased": {"how": "phased"}},
    methods=("advice/small-model-tuning",),
    minutes=4,
)
def tuning_small(lab: Lab, *, how: str) -> dict[str, float]:
    """Rates are constant and not warmed up. Phased and stacked see the same rows, in the middle setting.

    Besides, `norms` and `losses` are rank correlations with the loss at the end; `spared` is by how much, as a share of
    the lowest loss, the best of the half that is kept is better than that of a half by chance; `large` by how much the
    best large-batch run is better than the best small-batch one, among rates of which the large batch's is the lower or
    the same.
    """
    count, tested = lab.scale((ROWS, TESTED), (160, 8))
    easy, hard = lab.encoded(lab.sums(count)), lab.blocks(lab.texts("sci.med"), 24, count)
    held_out = [lab.encoded(lab.sums(tested, seed=lab.seed + 10_000)),
                lab.blocks(lab.texts("sci.med", "test"), 24, tested)]
    if how != "grid":
        rows = [[*easy, *hard]] if how == "stacked" else [easy, hard]
        return {"loss": _run(lab, rows, held_out, BATCHES[0], RATES[1]).end}
    ran = {(batch, rate): _run(lab, [[*easy, *hard]], held_out, batch, rate) for batch, rate in product(BATCHES, RATES)}
    return _told(ran)


def _told(ran: dict[tuple[int, float], Ran]) -> dict[str, float]:
    from scipy.stats import spearmanr

    ends = {f"{batch} {rate}": one.end for (batch, rate), one in ran.items()}
    early = {name: max(1, round(len(one.losses) / EARLY)) for name, one in zip(ends, ran.values(), strict=True)}
    losses, norms = ({name: getattr(one, part) for name, one in zip(ends, ran.values(), strict=True)}
                     for part in ("losses", "norms"))
    order = build("advice", "small-model-tuning", {"early": 1 / EARLY}).promising(losses, norms)
    best, half = min(ends.values()), len(ends) // 2
    chance = np.mean([min(ends[name] for name in some) for some in combinations(ends, half)])
    large = [(batch, rate) for batch, rate in ran if batch == BATCHES[1]]
    small = min(((batch, rate) for batch, rate in ran if batch == BATCHES[0]), key=lambda point: ran[point].end)
    lower = min(ran[point].end for point in large if point[1] <= small[1])
    begun = {part: [float(np.mean(values[name][:early[name]])) for name in ends]
             for part, values in (("losses", losses), ("norms", norms))}
    return {part: float(spearmanr(values, list(ends.values())).statistic) for part, values in begun.items()} | {
        "spared": float(chance - min(ends[name] for name in order[:half])) / best,
        "large": (ran[small].end - lower) / best}


def _run(lab: Lab, phases: list[list[Encoded]], held_out: list[list[Encoded]], batch: int, rate: float) -> Ran:
    """One epoch of AdamW; each phase is shuffled by itself."""
    model: nn.Module = lab.language_model(share=0.15, layers=2, width=64)
    model.train()
    objective, rng = build("objective", "sft"), np.random.default_rng(lab.seed)
    optimizer = build("optimizer", "adamw", {"learning_rate": rate}).build(model.named_parameters(), 1)
    losses, norms = [], []
    for rows in phases:
        for chosen in np.array_split(rng.permutation(len(rows)), len(rows) // batch):
            given = collate([rows[i] for i in chosen], pad_id=0)
            found = objective.loss(model, TorchBatch.of(given, torch.device("cpu")))
            mean = found.total / found.count
            optimizer.zero_grad()
            mean.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
            optimizer.step()
            losses.append(float(mean.detach()))
            lab.spent(forward=int(given.attention_mask.sum()), backward=int(given.attention_mask.sum()))
    model.eval()
    return Ran(losses, norms, float(np.mean([lab.loss(model, rows) for rows in held_out])))
