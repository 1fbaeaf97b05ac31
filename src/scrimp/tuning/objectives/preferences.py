"""Direct alignment: a model learns from pairs of answers which one is preferred, without a model of the reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from scrimp.core.errors import DataError
from scrimp.core.interrupts import stop_if_requested
from scrimp.core.registry import Cost, preset
from scrimp.examples.batching import collate, micro_batches
from scrimp.tuning.adapters import compute_dtype
from scrimp.tuning.objectives.base import Losses, TorchBatch
from scrimp.tuning.objectives.tokens import TokenObjective, has_virtual_tokens
from scrimp.tuning.work import Work

if TYPE_CHECKING:
    from scrimp.core.budget import Meter
    from scrimp.examples.templates import Encoded

__all__ = ["DirectAlignment"]

_SURE = -1e-6  # log-probability above which an answer's odds are not told from infinite ones

#: the loss of a scaled reward (or of a difference of two), which falls as that rises; with beta
_LINKS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "logistic": lambda scaled, beta: -F.logsigmoid(scaled),
    "sigmoid": lambda scaled, beta: torch.sigmoid(-scaled),
    "hinge": lambda scaled, beta: torch.relu(1 - scaled),
    "squared": lambda scaled, beta: ((scaled - 0.5) / beta) ** 2,
}


class DirectAlignment(TokenObjective):
    """Make a preferred answer more rewarding than a rejected one, where the reward is the model's own probability.

    With answers ``w`` (chosen) and ``l`` (rejected) to a prompt, and ``log p`` the summed log-probability of an
    answer, divided by its tokens if ``length_normalised``:

    - reward ``r``: ``ratio`` is ``log p - log p_ref``, ``odds`` is ``log p - log(1 - p)``, ``likelihood`` is ``log p``;
    - ``pairwise``: ``link(beta (r_w - r_l) - margin)``; ``pointwise``: ``link(beta r_w) + link(-beta r_l)``;
      ``contrastive``: ``link(beta r_w) + (link(-beta r_w) + link(-beta r_l)) / 2``;
    - ``link(x)``: ``logistic`` is ``-log sigmoid(x)``, ``sigmoid`` is ``sigmoid(-x)``, ``hinge`` is ``max(0, 1 - x)``,
      ``squared`` is ``((x - 1/2) / beta)^2``;
    - the loss of a pair is ``preference_weight * that + sft * (-log p_w / tokens of w)``.

    Gorbatovski et al. 2025, "The Differences Between Direct Alignment Algorithms are a Blur": what matters is whether
    answers are compared pairwise, and that supervised tuning comes first; it puts ``beta`` into ORPO and ASFT
    (``orpo-two-stage``, ``asft-two-stage``, to be run on a model that was tuned on the chosen answers).

    The reference is the model as training begins with it, without an adapter's virtual tokens: its log-probabilities
    are computed once, before the first step, kept with the pairs and charged, and no second copy is held.

    Attributes:
        reward: what an answer is worth.
        compare: how the two answers' rewards meet.
        link: from a reward to a loss.
        beta: scale of the rewards.
        margin: by which the scaled reward of the chosen answer is to lead.
        length_normalised: divide log-probabilities by the answer's tokens.
        preference_weight: of the preference's loss.
        sft: of the chosen answer's mean cross-entropy beside it.
        chunk: predicted tokens whose logits are held at once.
    """

    precise: ClassVar[bool] = True

    reward: Literal["ratio", "odds", "likelihood"] = "ratio"
    compare: Literal["pairwise", "pointwise", "contrastive"] = "pairwise"
    link: Literal["logistic", "sigmoid", "hinge", "squared"] = "logistic"
    beta: float = Field(default=0.1, gt=0)
    margin: float = Field(default=0.0, ge=0)
    length_normalised: bool = False
    preference_weight: float = Field(default=1.0, gt=0)
    sft: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.margin and self.compare != "pairwise":
            raise ValueError("a 'margin' is between two answers: compare must be pairwise")
        return self

    def prepare(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                meter: Meter | None = None) -> list[Encoded]:
        single = [example.row for example in data if example.second is None]
        if single:
            raise DataError(f"'{self.name}' learns from pairs, and {len(single)} of {len(data)} rows are none",
                            where=f"row {single[0] + 1}", fix="give rows with prompt, chosen and rejected")
        if self.reward != "ratio" or all(example.reference for example in data):
            return list(data)
        found = self._measured(model, data, pad_id, micro_tokens, meter)
        return [replace(example, reference=pair) for example, pair in zip(data, found, strict=True)]

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        summed, tokens = self._log_probabilities(model, batch)
        losses = self.preference_weight * self.preference(summed, tokens, batch.reference)
        pairs = len(losses)
        if self.sft:
            losses = losses - self.sft * summed[:pairs] / tokens[:pairs]
        return Losses(losses, torch.ones_like(losses, dtype=torch.int64))

    def preference(self, summed: torch.Tensor, tokens: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """The loss of each pair, float32 [B].

        Args:
            summed: float32 [2 B], log-probability of each answer: all chosen ones, then all rejected ones.
            tokens: [2 B], of each answer.
            reference: float32 [2 B], as ``summed`` under the reference; only read where the reward is a ratio.
        """
        link, scaled = _LINKS[self.link], self.beta * self._rewards(summed, tokens, reference)
        chosen, rejected = scaled.chunk(2)
        if self.compare == "pairwise":
            return link(chosen - rejected - self.margin, self.beta)
        if self.compare == "pointwise":
            return link(chosen, self.beta) + link(-rejected, self.beta)
        return link(chosen, self.beta) + (link(-chosen, self.beta) + link(-rejected, self.beta)) / 2

    def supervised(self, example: Encoded) -> int:
        return int(all(one is not None and any(one.trained[1:]) for one in (example, example.second)))

    def cost(self) -> Cost:
        return Cost(forward=2 if self.reward == "ratio" else 1, backward=1)

    def _rewards(self, summed: torch.Tensor, tokens: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        each = tokens if self.length_normalised else 1
        if self.reward == "ratio":
            return (summed - reference) / each
        if self.reward == "likelihood":
            return summed / each
        log_p = (summed / each).clamp(max=_SURE)
        return log_p - torch.log(-torch.expm1(log_p))

    def _log_probabilities(self, model: nn.Module, batch: TorchBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each row's trained tokens: their summed log-probability, float32 [2 B], and how many they are."""
        losses, rows = self.token_losses(model, batch)
        empty = torch.zeros(len(batch.input_ids), dtype=torch.float32, device=losses.device)
        return empty.index_add(0, rows, -losses), empty.index_add(0, rows, torch.ones_like(losses))

    def _measured(self, model: nn.Module, data: Sequence[Encoded], pad_id: int, micro_tokens: int,
                  meter: Meter | None) -> list[tuple[float, float]]:
        """Log-probabilities of both answers of each pair under the reference."""
        device, dtype, work = next(model.parameters()).device, compute_dtype(model), Work.of(model)
        found: list[tuple[float, float]] = [(0.0, 0.0)] * len(data)
        training = model.training
        model.eval()
        try:
            # autocast must not keep weights that were cast without a graph: the first training step would use them
            with (torch.no_grad(), _without_virtual_tokens(model),
                  torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16, cache_enabled=False)):
                for part in micro_batches(range(len(data)), [one.padded for one in data], tokens=micro_tokens):
                    stop_if_requested()
                    batch = TorchBatch.of(collate([data[i] for i in part], pad_id=pad_id), device)
                    chosen, rejected = self._log_probabilities(model, batch)[0].chunk(2)
                    for place, i in enumerate(part):
                        found[i] = (float(chosen[place]), float(rejected[place]))
                    if meter is not None:
                        meter.charge(tokens_forward=sum(data[i].tokens for i in part),
                                     flops=work.forward_flops(batch.input_ids.numel(), int(batch.trained.sum())))
        finally:
            model.train(training)
        return found


def _without_virtual_tokens(model: Any) -> Any:
    """An adapter that puts new tokens before the text begins as noise; any other begins as no change at all."""
    return model.disable_adapter() if has_virtual_tokens(model) else nullcontext()


preset("dpo", DirectAlignment, papers=(217,))
preset("ipo", DirectAlignment, link="squared", length_normalised=True)
preset("simpo", DirectAlignment, reward="likelihood", length_normalised=True, beta=2.0, margin=1.0)
preset("cpo", DirectAlignment, reward="likelihood", sft=1.0)
preset("slic", DirectAlignment, reward="likelihood", link="hinge", beta=1.0, sft=1.0)
preset("orpo", DirectAlignment, papers=(217,), reward="odds", length_normalised=True, beta=1.0,
       preference_weight=0.1, sft=1.0)
preset("orpo-two-stage", DirectAlignment, papers=(217,), reward="odds", length_normalised=True)
preset("asft", DirectAlignment, papers=(217,), reward="odds", compare="pointwise", length_normalised=True, beta=1.0,
       preference_weight=0.1, sft=1.0)
preset("asft-two-stage", DirectAlignment, papers=(217,), reward="odds", compare="pointwise", length_normalised=True)
preset("bco", DirectAlignment, compare="pointwise")
preset("nca", DirectAlignment, compare="contrastive")
preset("apo-zero", DirectAlignment, compare="pointwise", link="sigmoid")
preset("sppo", DirectAlignment, compare="pointwise", link="squared")
