"""The next token, where it is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Loss, TorchBatch
from scrimp.tuning.objectives.tokens import TokenObjective, full_logits, parts, predicted, states

__all__ = ["SFT"]


class SFT(TokenObjective):
    """Cross-entropy of the next token, in float32, over the trained tokens and no others.

    ``sum_t -log p(token_t | tokens before)`` over the answers' tokens. Of a preference pair it is the chosen answer
    that is learned, of a completion with a rationale the completion. Each chunk of logits has its gradient taken at
    once, see `TokenObjective`.

    Attributes:
        chunk: predicted tokens whose logits are held at once.
    """

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        rows, positions, targets = predicted(batch)
        if self.is_plain(model, batch):
            body, head = parts(model)
            chosen = states(body, batch.input_ids, batch.attention_mask)[rows, positions]
            total = _summed_loss(chosen, targets, head, self.chunk)
        else:
            total = F.cross_entropy(full_logits(model, batch)[rows, positions].float(), targets, reduction="sum")
        return Loss(total, len(targets))


def _summed_loss(states: torch.Tensor, targets: torch.Tensor, head: nn.Module, chunk: int) -> torch.Tensor:
    moving = [p for p in head.parameters() if p.requires_grad]
    if torch.is_grad_enabled() and (states.requires_grad or moving):
        return _ChunkedLoss.apply(states, targets, head, chunk, *moving)
    parts = zip(states.split(chunk), targets.split(chunk), strict=True)
    return sum((_chunk_loss(s, t, head) for s, t in parts), states.new_zeros((), dtype=torch.float32))


def _chunk_loss(states: torch.Tensor, targets: torch.Tensor, head: nn.Module) -> torch.Tensor:
    return F.cross_entropy(head(states).float(), targets, reduction="sum")


class _ChunkedLoss(torch.autograd.Function):
    """The summed loss of states [N, H], chunk by chunk: logits and their gradient live for one chunk only.

    The gradient is taken in the forward pass, since the loss is a plain sum and the backward pass can but scale it.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, targets: torch.Tensor, head: nn.Module, chunk: int,
                *moving: nn.Parameter) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        towards_states = torch.empty_like(states)
        towards_moving = [torch.zeros_like(p) for p in moving]
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            with torch.enable_grad():
                leaf = states[part].detach().requires_grad_()
                loss = _chunk_loss(leaf, targets[part], head)
            gradients = torch.autograd.grad(loss, [leaf, *moving])
            towards_states[part] = gradients[0]
            for so_far, more in zip(towards_moving, gradients[1:], strict=True):
                so_far += more
            total += loss.detach()
        ctx.save_for_backward(towards_states, *towards_moving)
        return total

    @staticmethod
    def backward(ctx: Any, *scales: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        towards_states, *towards_moving = ctx.saved_tensors
        scale = scales[0]
        return towards_states * scale, None, None, None, *(gradient * scale for gradient in towards_moving)


preset("sft", SFT)
