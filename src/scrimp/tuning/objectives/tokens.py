"""What objectives of a language model share: the losses of the trained tokens, without the logits of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from pydantic import Field, PrivateAttr
from torch import nn
from torch.nn import functional as F

from scrimp.compute.decoder import packed_of
from scrimp.compute.output import summed_loss, token_losses
from scrimp.tuning.objectives.base import Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["TokenObjective"]

_PROBE = 16  # tokens


class TokenObjective(Objective):
    """Base of what is computed from the trained tokens.

    Of a prompt with a short answer nearly all logits would be thrown away, and with them most of the memory: so the
    output layer is applied to the states that predict a trained token only, ``chunk`` at a time. Where a model does
    more to its logits than its output layer (soft caps, scales), which is found by trying, its own forward pass is
    used.

    Attributes:
        chunk: predicted tokens whose logits are held at once.
        precise: whether log-probabilities are summed up, so that logits are to be float32 products.
    """

    precise: ClassVar[bool] = False
    chunk: int = Field(default=256, ge=1)
    _plain: WeakKeyDictionary[nn.Module, bool] = PrivateAttr(default_factory=WeakKeyDictionary)

    def token_losses(self, model: nn.Module, batch: TorchBatch, *,
                     summed: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The cross-entropy of each trained token, float32 [N], in nats, and its row, int64 [N].

        If ``summed``, of the losses only their sum may be used: where that is cheaper it is all that there is.
        """
        rows, positions, targets = predicted(batch)
        if not self.is_plain(model, batch):
            return F.cross_entropy(full_logits(model, batch)[rows, positions].float(), targets, reduction="none"), rows
        body, head = decoder_and_head(model)
        chosen = states_at(body, batch, rows, positions)
        if summed:
            return summed_loss(chosen, targets, head, chunk=self.chunk), rows
        return token_losses(chosen, targets, head, chunk=self.chunk, precise=self.precise), rows

    def supervised(self, example: Encoded) -> int:
        return sum(example.trained[1:])

    def is_plain(self, model: nn.Module, batch: TorchBatch) -> bool:
        """Whether the logits are the output layer of the body's states and nothing else, to the bit."""
        if has_virtual_tokens(model):
            return False
        if model not in self._plain:
            ids, mask = batch.input_ids[:1, :_PROBE], batch.attention_mask[:1, :_PROBE]
            self._plain[model] = _logits_are_plain(model, ids, mask)
        return self._plain[model]


def has_virtual_tokens(model: Any) -> bool:
    """Whether an adapter puts tokens of its own before the text."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and config.is_prompt_learning


def predicted(batch: TorchBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row and position of each state that predicts a trained token, and that token; int64 [N] each."""
    rows, positions = batch.trained[:, 1:].nonzero(as_tuple=True)
    return rows, positions, batch.input_ids[rows, positions + 1]


def full_logits(model: nn.Module, batch: TorchBatch) -> torch.Tensor:
    """The model's own logits [B, L, V], those of an adapter's virtual tokens before the text left out."""
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    return logits[:, -batch.input_ids.shape[1]:]


def decoder_and_head(model: Any) -> tuple[nn.Module, nn.Module]:
    """The transformer without its output layer, and the output layer; layers that an adapter wrapped stay wrapped."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_decoder(), base.get_output_embeddings()


def states_at(body: nn.Module, batch: TorchBatch, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The body's last hidden states [N, H] at these places, by the fast path where it is on one."""
    if (path := packed_of(body)) is not None and path.takes(batch.attention_mask):
        return path.states(batch.input_ids, batch.attention_mask, rows, positions)
    return states(body, batch.input_ids, batch.attention_mask)[rows, positions]


def states(body: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The body's last hidden states [B, L, H]."""
    return body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def _logits_are_plain(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> bool:
    training = model.training
    model.eval()
    try:
        body, head = decoder_and_head(model)
        # with gradients: autocast would keep weights cast without them, and the first batch would train nothing
        whole = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        ours = head(states(body, ids, mask))
    except (TypeError, AttributeError):  # no body and head of the usual kind
        return False
    finally:
        model.train(training)
    return torch.equal(whole.float(), ours.float())
