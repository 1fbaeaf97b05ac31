"""Everything moves, and some of what the layers add is dropped in training."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from pydantic import Field
from torch import nn

from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.tuning.adapters.base import body_of
from scrimp.tuning.adapters.full import Full

__all__ = ["Dropped"]

_PLACE = "branch_dropout"
_LAST = ("o_proj", "down_proj", "c_proj", "dense_4h_to_h", "fc2", "out_proj")  # of attention and of the network


class Dropped(Full):
    """Train all weights with dropout, which rows that are seen again and again need.

    Of a model that has places for dropout, their rate is set; of one that has none (most decoders), a share of what
    attention and the network of each layer add to the stream is dropped. Of what was tried against the loss that comes
    of repeating data, dropout alone helped much, from the beginning or from a later step on: Xue et al. 2023, "To
    Repeat or Not To Repeat: Insights from Scaling LLM under Token-Crisis". What is kept and shipped are plain weights.

    Attributes:
        dropout: share that is dropped.
        dropout_begins: the step before which nothing is.
    """

    dropout: float = Field(default=0.1, gt=0, lt=1)
    dropout_begins: int = Field(default=0, ge=0)

    def move(self, model: nn.Module) -> nn.Module:
        body = body_of(model)
        if hasattr(body, _PLACE):
            raise ModelError("this model drops something out already", where="adapter full-dropout",
                             fix="attach it to the model as it was")
        late = _Late(self.dropout, self.dropout_begins)
        places = [(parent, name) for parent in body.modules() for name, child in parent.named_children()
                  if isinstance(child, nn.Dropout)]
        for parent, name in places:
            setattr(parent, name, late)
        last = [] if places else [m for name, m in body.named_modules() if name.rsplit(".", 1)[-1] in _LAST]
        if not places and not last:
            raise ModelError("no place is known where this model could drop something", where="adapter full-dropout",
                             fix="adapter: full")
        for layer in last:
            layer.register_forward_hook(partial(_dropping, late))
        body.add_module(_PLACE, late)
        return super().move(model)


class _Late(nn.Dropout):
    """Dropout from some step of the training on."""

    def __init__(self, rate: float, begins: int) -> None:
        super().__init__(rate)
        self.rate, self.begins = rate, begins

    def enter_step(self, step: int) -> None:
        self.p = self.rate if step >= self.begins else 0.0


def _dropping(late: nn.Dropout, layer: nn.Module, inputs: Iterable[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return late(output)


preset("full-dropout", Dropped, papers=(568,))
