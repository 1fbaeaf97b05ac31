"""The family of growth: a larger model that begins where a smaller one ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from scrimp.core.registry import Cost, Method

__all__ = ["Growth"]


class Growth(Method):
    """Grows a decoder."""

    family: ClassVar[str] = "growth"
    verb: ClassVar[str] = "apply"

    def apply(self, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any], *,
              seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The larger model's weights, in the precision of the smaller one's, and its transformers configuration.

        Raises:
            ModelError: a model whose layers cannot be told from its names and configuration.
        """
        raise NotImplementedError

    def grown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The larger model's transformers configuration."""
        raise NotImplementedError

    def cost(self, config: Mapping[str, Any]) -> Cost:
        """The parameters of the larger model."""
        from transformers import AutoConfig, AutoModelForCausalLM

        told = self.grown(config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**told))
        return Cost(parameters=sum(p.numel() for p in model.parameters()))

    def grow(self, model: Any, *, seed: int = 0) -> Any:
        """A new, larger model from a transformers decoder, which is left as it is.

        Raises:
            ModelError: as `apply`.
        """
        weights, config = self.apply(model.state_dict(), model.config.to_dict(), seed=seed)
        larger = type(model)(type(model.config)(**config))
        for parameter in larger.parameters():  # not `to`, which would round the rotary frequencies too
            parameter.data = parameter.data.to(model.dtype)
        larger.load_state_dict(weights)
        return larger.train(model.training)
