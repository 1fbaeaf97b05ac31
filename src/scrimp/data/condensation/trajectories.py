"""Matching trajectories: made-up examples on which a network goes the way it goes on the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn import functional as F

from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, preset
from scrimp.data.condensation.base import Condensed, Condenser, rows_by_class

__all__ = ["TrajectoryMatching"]

Weights = tuple[torch.Tensor, ...]


class TrajectoryMatching(Condenser):
    """Make examples on which a network moves as it moves on the real ones, at a stage that suits how many there are.

    Experts, networks with one hidden layer, are trained on the real examples, and their weights kept after each epoch.
    Then, again and again, a student starts where an expert was after t epochs and makes ``student_steps`` steps of
    gradient descent on the made-up examples; these, their soft labels and the student's rate are moved, through all
    the steps, to make ``||student - expert(t + span)||^2 / ||expert(t) - expert(t + span)||^2`` small. Cazenavette et
    al. 2022, "Dataset Distillation by Matching Training Trajectories" (MTT).

    Few examples can teach only what experts learn early, and only many what they learn late: so t is drawn from a
    ``stage`` of the experts' training, which begins narrow and widens toward its later end; labels are soft, at first
    those of an expert of that stage on real examples that it gets right, and move too. Guo et al. 2024, "Towards
    Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching" (DATM).

    Attributes:
        stage: epochs from which t is drawn: "early" is the first quarter, "late" the second half, "any" all of them;
            "aligned" lies the later, the more examples there are of each class.
        widen: whether the stage begins at its earliest epoch and widens over the first half of the iterations.
        soft: whether labels are an expert's and move; else they are the classes and stay.
        experts: that are trained.
        epochs: of each expert.
        span: epochs that the student is to make up for.
        student_steps: of gradient descent on the made-up examples.
        iterations: changes of the made-up examples.
        width: of the hidden layer.
        expert_rate: of the experts' gradient descent, with momentum 0.9 and batches of 32.
        input_rate: of Adam on the inputs, in their own unit.
        label_rate: of Adam on the labels' logits.
    """

    stage: Literal["aligned", "early", "late", "any"] = "aligned"
    widen: bool = True
    soft: bool = True
    experts: int = Field(default=4, ge=1)
    epochs: int = Field(default=20, ge=2)
    span: int = Field(default=2, ge=1)
    student_steps: int = Field(default=10, ge=1)
    iterations: int = Field(default=200, ge=1)
    width: int = Field(default=64, ge=1)
    expert_rate: float = Field(default=0.02, gt=0)
    input_rate: float = Field(default=0.02, gt=0)
    label_rate: float = Field(default=0.05, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.span >= self.epochs:
            raise ValueError(f"a span of {self.span} epochs is not within {self.epochs}")
        return self

    def condense(self, inputs: np.ndarray, labels: np.ndarray, per_class: int, *, seed: int = 0) -> Condensed:
        rows, rng = rows_by_class(labels, per_class), np.random.default_rng(seed)
        flat = torch.from_numpy(inputs.reshape(len(inputs), -1).astype(np.float32))
        paths = [self._expert(flat, torch.from_numpy(labels), len(rows), rng) for _ in range(self.experts)]
        early, late = self._stage(per_class)
        made = self._begun(flat, rows, per_class, paths[0][late], rng)
        optimizer = torch.optim.Adam([{"params": [made.inputs], "lr": self.input_rate},
                                      {"params": [made.logits], "lr": self.label_rate if self.soft else 0.0},
                                      {"params": [made.log_rate], "lr": 0.05}])
        for iteration in range(self.iterations):
            path = paths[rng.integers(self.experts)]
            begin = int(rng.integers(early, self._latest(early, late, iteration) + 1))
            loss = self._mismatch(made, path[begin], path[begin + self.span])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not bool(loss.isfinite()):
            raise ModelError("the students diverge", fix="lower input_rate, or take fewer student_steps")
        shape = (len(made.inputs), *inputs.shape[1:])
        return Condensed(made.inputs.detach().numpy().reshape(shape), made.shares().detach().numpy())

    def cost(self) -> Cost:
        return Cost(forward=self.experts * self.epochs, backward=self.experts * self.epochs)

    # --- experts --------------------------------------------------------------------------------------------------

    def _expert(self, x: torch.Tensor, y: torch.Tensor, classes: int, rng: np.random.Generator) -> list[Weights]:
        """Weights before the first epoch and after each one."""
        weights = [w.requires_grad_() for w in self._fresh(x.shape[1], classes, rng)]
        optimizer = torch.optim.SGD(weights, lr=self.expert_rate, momentum=0.9)
        path = [tuple(w.detach().clone() for w in weights)]
        for _ in range(self.epochs):
            for rows in torch.from_numpy(rng.permutation(len(x))).split(32):
                loss = F.cross_entropy(_logits(weights, x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            path.append(tuple(w.detach().clone() for w in weights))
        return path

    def _fresh(self, features: int, classes: int, rng: np.random.Generator) -> list[torch.Tensor]:
        def normal(outputs: int, inputs: int) -> torch.Tensor:
            return torch.from_numpy(rng.normal(scale=(2 / inputs)**0.5, size=(outputs, inputs)).astype(np.float32))

        return [normal(self.width, features), torch.zeros(self.width), normal(classes, self.width),
                torch.zeros(classes)]

    # --- made-up examples -----------------------------------------------------------------------------------------

    def _stage(self, per_class: int) -> tuple[int, int]:
        """The first and the last epoch from which a student may start."""
        last = self.epochs - self.span
        middle = min(1.0, np.log2(per_class) / 6)  # one example a class: the beginning; 64: the end
        shares = {"early": (0.0, 0.25), "late": (0.5, 1.0), "any": (0.0, 1.0),
                  "aligned": (max(0.0, middle - 0.25), min(1.0, middle + 0.25))}
        early, late = shares[self.stage]
        return round(early * last), round(late * last)

    def _latest(self, early: int, late: int, iteration: int) -> int:
        """The last epoch that may be drawn now."""
        if not self.widen:
            return late
        return early + round((late - early) * min(1.0, 2 * iteration / self.iterations))

    def _begun(self, x: torch.Tensor, rows: list[np.ndarray], per_class: int, expert: Weights,
               rng: np.random.Generator) -> _Made:
        """Real rows and their labels; where labels are soft, rows that the expert gets right, and its logits."""
        drawn, answers = [], _logits(expert, x)
        for number, of_class in enumerate(rows):
            order = rng.permutation(of_class)
            if self.soft:
                wrong = (answers[order].argmax(dim=1) != number).numpy()
                order = order[np.argsort(wrong, kind="stable")]
            drawn.append(order[:per_class])
        picked = np.concatenate(drawn)
        classes = torch.arange(len(rows)).repeat_interleave(per_class)
        logits = answers[picked] if self.soft else torch.log(F.one_hot(classes).float())
        return _Made(x[picked].clone().requires_grad_(), logits.clone().requires_grad_(self.soft),
                     torch.tensor(np.log(self.expert_rate), dtype=torch.float32).requires_grad_())

    def _mismatch(self, made: _Made, start: Weights, goal: Weights) -> torch.Tensor:
        """How far from the goal a student on the made-up examples ends, for how far it began."""
        weights: Weights = tuple(w.clone().requires_grad_() for w in start)
        for _ in range(self.student_steps):
            loss = -(made.shares() * _logits(weights, made.inputs).log_softmax(dim=1)).sum(dim=1).mean()
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
            weights = tuple(w - made.log_rate.exp() * g for w, g in zip(weights, gradients, strict=True))
        return _distance(weights, goal) / _distance(start, goal)


@dataclass
class _Made:
    """The examples in the making: inputs [N, D], the logits of their labels [N, C], the log of the student's rate."""

    inputs: torch.Tensor
    logits: torch.Tensor
    log_rate: torch.Tensor

    def shares(self) -> torch.Tensor:
        return self.logits.softmax(dim=1)


def _logits(weights: Weights | list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    first, bias, second, offset = weights
    return F.linear(F.relu(F.linear(x, first, bias)), second, offset)


def _distance(a: Weights, b: Weights) -> torch.Tensor:
    return torch.stack([(x - y).square().sum() for x, y in zip(a, b, strict=True)]).sum()


preset("datm", TrajectoryMatching, papers=(20,))
preset("mtt", TrajectoryMatching, stage="any", widen=False, soft=False)
