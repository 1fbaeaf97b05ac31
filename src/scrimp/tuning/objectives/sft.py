"""The next token, where it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from pydantic import Field, PrivateAttr
from torch import nn
from torch.nn import functional as F

from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Loss, Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["SFT"]

_PROBE = 16  # tokens


class SFT(Objective):
    """Cross-entropy of the next token, in float32, over the trained tokens and no others.

    Of a prompt with a short answer nearly all logits would be thrown away, and with them most of the memory: so the
    output layer is applied to the states that predict a trained token only, ``chunk`` at a time, and each chunk's
    gradient is taken at once. Where a model does more to its logits than its output layer (soft caps, scales), which
    is found by trying, its own forward pass is used.

    Attributes:
        chunk: predicted tokens whose logits are held at once.
    """

    chunk: int = Field(default=256, ge=1)
    _plain: WeakKeyDictionary[nn.Module, bool] = PrivateAttr(default_factory=WeakKeyDictionary)

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        rows, positions = batch.trained[:, 1:].nonzero(as_tuple=True)
        targets = batch.input_ids[rows, positions + 1]
        if self._is_plain(model, batch):
            body, head = _parts(model)
            states = _states(body, batch.input_ids, batch.attention_mask)[rows, positions]
            total = _summed_loss(states, targets, head, self.chunk)
        else:
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
            total = F.cross_entropy(logits[rows, positions].float(), targets, reduction="sum")
        return Loss(total, len(targets))

    def supervised(self, example: Encoded) -> int:
        return sum(example.trained[1:])

    def _is_plain(self, model: nn.Module, batch: TorchBatch) -> bool:
        """Whether the logits are the output layer of the body's states and nothing else, to the bit."""
        if model not in self._plain:
            ids, mask = batch.input_ids[:1, :_PROBE], batch.attention_mask[:1, :_PROBE]
            self._plain[model] = _logits_are_plain(model, ids, mask)
        return self._plain[model]


def _logits_are_plain(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> bool:
    training = model.training
    model.eval()
    try:
        body, head = _parts(model)
        # with gradients: autocast would keep weights cast without them, and the first batch would train nothing
        whole = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        ours = head(_states(body, ids, mask))
    except (TypeError, AttributeError):  # no body and head of the usual kind
        return False
    finally:
        model.train(training)
    return torch.equal(whole.float(), ours.float())


def _parts(model: Any) -> tuple[nn.Module, nn.Module]:
    """The transformer without its output layer, and the output layer; layers that an adapter wrapped stay wrapped."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_decoder(), base.get_output_embeddings()


def _states(body: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


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
