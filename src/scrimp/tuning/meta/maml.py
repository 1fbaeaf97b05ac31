"""An initialisation from which few steps are enough: MAML and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.func import functional_call, grad, grad_and_value, vmap

from scrimp.core.registry import Cost, preset
from scrimp.tuning.meta.base import Episode, Episodic, Learner, loss_of, tensors

__all__ = ["MAML"]

Parameters = dict[str, torch.Tensor]


class MAML(Episodic):
    """Train the initial weights so that a few steps of gradient descent on a task's support do well on its query.

    ``theta' = theta - inner_rate * grad L_support(theta)``, ``inner_steps`` times; then ``theta`` follows the gradient
    of ``L_query(theta')``. Finn et al. 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks".

    - ``first`` order takes that gradient at ``theta'`` as if ``theta'`` did not depend on ``theta`` (FOMAML).
    - ``reptile`` follows ``theta - theta'`` and learns nothing from the query. Nichol et al. 2018, "On First-Order
      Meta-Learning Algorithms".
    - Where only the last layer ``adapts`` it is ANIL. Raghu et al. 2020, "Rapid Learning or Feature Reuse? Towards
      Understanding the Effectiveness of MAML".
    - ``joint`` is the control: the same model trained on the queries of all tasks at once, without steps inside.

    The episodes of an update are computed side by side, so they must be of one shape, and the model must keep no
    running statistics. The loss is cross-entropy for classes and the mean square for values.

    Attributes:
        inner_rate: learning rate of the steps on a support.
        inner_steps: how many in meta-training.
        steps: how many on a new task; as many as in meta-training unless given.
        order: how the outer gradient is taken.
        adapts: what moves inside: all, or the last layer.
        meta_steps: updates in meta-training.
        meta_rate: their learning rate.
        tasks_per_step: episodes of an update.
    """

    inner_rate: float = Field(default=0.01, gt=0)
    inner_steps: int = Field(default=1, ge=0)
    steps: int | None = Field(default=None, ge=0)
    order: Literal["second", "first", "reptile"] = "second"
    adapts: Literal["all", "last"] = "all"

    def accumulate(self, model: nn.Module, episodes: Sequence[Episode]) -> float:
        task = [torch.stack(side) for side in zip(*(
            tensors(model, e.support_x, e.support_y, e.query_x, e.query_y) for e in episodes), strict=True)]
        parameters = dict(model.named_parameters())
        start = {name: parameter.detach() for name, parameter in parameters.items()}
        outer = vmap(lambda *one: self._outer(model, start, *one), randomness="different")
        gradients, losses = outer(*task)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].mean(dim=0).detach()
        return float(losses.mean())

    def _outer(self, model: nn.Module, start: Parameters, support_x: torch.Tensor, support_y: torch.Tensor,
               query_x: torch.Tensor, query_y: torch.Tensor) -> tuple[Parameters, torch.Tensor]:
        """Gradient and loss of one episode."""
        def after(theta: Parameters) -> torch.Tensor:
            return plain(self._adapted(model, theta, support_x, support_y))

        def plain(theta: Parameters) -> torch.Tensor:
            return loss_of(functional_call(model, theta, (query_x,)), query_y)

        if self.order == "second":
            return grad_and_value(after)(start)
        moved = self._adapted(model, start, support_x, support_y)
        if self.order == "first":
            return grad_and_value(plain)(moved)
        return {name: start[name] - moved[name] for name in start}, plain(moved)

    def _adapted(self, model: nn.Module, theta: Parameters, x: torch.Tensor, y: torch.Tensor,
                 steps: int | None = None) -> Parameters:
        def loss(inside: Parameters, fixed: Parameters) -> torch.Tensor:
            return loss_of(functional_call(model, {**fixed, **inside}, (x,)), y)

        inside = {name: theta[name] for name in self._inside(theta)}
        for _ in range(self.inner_steps if steps is None else steps):
            slope = grad(loss)(inside, theta)
            inside = {name: value - self.inner_rate * slope[name] for name, value in inside.items()}
        return {**theta, **inside}

    def _inside(self, theta: Parameters) -> list[str]:
        """The parameters that move inside."""
        if self.adapts == "all":
            return list(theta)
        last = list(theta)[-1].rpartition(".")[0]
        return [name for name in theta if name.rpartition(".")[0] == last]

    def learner(self, model: nn.Module) -> Learner:
        return _Descent(self, model)

    def cost(self) -> Cost:
        # on the support a forward pass a step, a backward one unless only the last layer moves, and for second order
        # one more through the step itself; on the query one of each
        back = self.inner_steps * (int(self.adapts == "all") + int(self.order == "second"))
        return Cost(forward=(self.inner_steps + 1) / 2, backward=(back + int(self.order != "reptile")) / 2)


@dataclass(frozen=True)
class _Descent:
    """Steps on the support from the meta-trained weights, which stay as they are."""

    method: MAML
    model: nn.Module

    def predict(self, episode: Episode) -> np.ndarray:
        x, y, asked = tensors(self.model, episode.support_x, episode.support_y, episode.query_x)
        start = {name: p.detach() for name, p in self.model.named_parameters()}
        steps = self.method.inner_steps if self.method.steps is None else self.method.steps
        moved = self.method._adapted(self.model, start, x, y, steps)
        with torch.no_grad():
            return functional_call(self.model, moved, (asked,)).cpu().numpy()


preset("maml", MAML, papers=(104,))
preset("fomaml", MAML, papers=(104,), order="first")
preset("anil", MAML, adapts="last")
preset("reptile", MAML, order="reptile", inner_steps=5)
preset("joint", MAML, inner_steps=0, steps=1)
