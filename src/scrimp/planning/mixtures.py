"""What a mix of domains would be worth, told from models that were each trained on one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrimp.core.errors import OptionError, nearest
from scrimp.core.registry import build

if TYPE_CHECKING:
    import torch

__all__ = ["Foreseen", "foresee"]

Weights = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Foreseen:
    """A mix, and the loss that a model trained on it is expected to compare by."""

    mix: Mapping[str, float]
    loss: float


def foresee(models: Mapping[str, Weights], mixes: Sequence[Mapping[str, float]],
            measure: Callable[[Weights], float]) -> list[Foreseen]:
    """Mixes in the order of what they promise, the best first.

    A mix's loss is that of the average of its domains' models, each weighted by its domain's share. So k trainings tell
    of any number of mixes, which costs one measurement each. The losses rank mixes; they are not those that training
    on them would reach. Na et al. 2024, "Scalable Data Ablation Approximations for Language Models through Modular
    Training and Merging".

    Args:
        models: domain -> weights of a model that was trained on it, all from one start and for as long.
        mixes: domain -> share; of domains that have a model.
        measure: the loss of weights on what matters; lower is better.
    """
    return sorted((Foreseen(mix, measure(_average(models, mix))) for mix in mixes), key=lambda one: one.loss)


def _average(models: Mapping[str, Weights], mix: Mapping[str, float]) -> Weights:
    if unknown := next((name for name in mix if name not in models), None):
        raise OptionError(f"no model was trained on '{unknown}'; {nearest(unknown, models)}", where="mixes")
    members = [name for name, share in mix.items() if share]
    soup = build("merging", "soup", {"weights": tuple(mix[name] for name in members)})
    return dict(soup.apply([models[name] for name in members]))
