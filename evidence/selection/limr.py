"""Reinforcement learning from the items that are learned as the whole is learned is as good as from all of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from scrimp.data.selection.trajectories import alignment
from scrimp.evidence import Lab, claim

EACH, DRAWS, BATCH = 60, 8, 20  # questions of each kind; answers drawn for one; questions of a step
EPOCHS, STEPS = 12, 72
NUMBERS, ANSWERS = 8, 9  # that a question is made of, and to choose from
Keep = Literal["aligned", "all", "random", "hardest"]


@claim(
    papers=(45,),
    says="A policy learns by reinforcement to answer. A third of the questions it can answer from the start, a third "
         "have no right answer, a third can be learned. After a run over all of them, the third whose rewards follow "
         "the mean is kept; a new run on it alone comes to a higher reward on other questions that can be learned than "
         "one on a third drawn by chance or on the hardest third, and to no lower one than a run on all, in as many "
         "steps.",
    holds_if=("reward: aligned >= all", "reward: aligned > random", "reward: aligned > hardest"),
    arms={"aligned": {"keep": "aligned"}, "all": {"keep": "all"}, "random": {"keep": "random"},
          "hardest": {"keep": "hardest"}},
    search={"learning_rate": (1e-2, 3e-2)}, tuned_for="reward", better="higher",
    methods=("selection/lim",),
    unequal="The first run, over all items, is on the bill of what chooses by it: half as much again.",
    minutes=3,
)
def limr(lab: Lab, *, keep: Keep, learning_rate: float) -> dict[str, float]:
    """The mean of four draws of questions, so that what is measured is less of a draw."""
    draws = [Lab(4 * lab.seed + draw, smoke=lab.smoke) for draw in range(lab.scale(4, 1))]
    found = [once(own, keep, learning_rate) for own in draws]
    lab.spent(forward=sum(own.meter.bill().tokens_forward for own in draws),
              backward=sum(own.meter.bill().tokens_backward for own in draws))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def once(lab: Lab, keep: Keep, learning_rate: float) -> dict[str, float]:
    inputs, answers, tests, told = items(lab)
    begun = beginner(lab, inputs, answers)
    kept = lab.rng.permutation(len(inputs))[:EACH]
    if keep == "all":
        kept = np.arange(len(inputs))
    elif keep != "random":
        steps = lab.scale(EPOCHS, 2) * len(inputs) // BATCH
        _, rewards = reinforced(lab, begun, inputs, answers, steps, learning_rate)
        scores = alignment(rewards) if keep == "aligned" else -rewards.mean(axis=1)
        kept = np.argsort(-scores, kind="stable")[:EACH]
    policy, _ = reinforced(lab, begun, inputs[kept], answers[kept], lab.scale(STEPS, 2), learning_rate)
    with torch.no_grad():
        chances = policy(tests).softmax(dim=1)
    return {"reward": float(chances[torch.arange(len(tests)), told].mean()),
            "learnable": float(np.mean((kept >= EACH) & (kept < 2 * EACH)))}


def items(lab: Lab) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Questions of three kinds with their answers, -1 where there is none; and held-out ones of the second kind.

    An answer is the highest of nine linear functions of the question, other ones for each kind.
    """
    functions = lab.rng.normal(size=(2, NUMBERS, ANSWERS))

    def asked(numbers: np.ndarray, kind: int) -> torch.Tensor:
        return torch.from_numpy(np.kron(np.eye(3)[kind], numbers)).float()

    numbers, tests = lab.rng.normal(size=(3, EACH, NUMBERS)), lab.rng.normal(size=(500, NUMBERS))
    answers = np.concatenate([*((numbers[kind] @ functions[kind]).argmax(axis=1) for kind in (0, 1)),
                              np.full(EACH, -1)])
    return (torch.cat([asked(numbers[kind], kind) for kind in range(3)]), torch.from_numpy(answers), asked(tests, 1),
            torch.from_numpy((tests @ functions[1]).argmax(axis=1)))


def beginner(lab: Lab, inputs: torch.Tensor, answers: torch.Tensor) -> nn.Module:
    """A policy that was taught the first kind, and a little of the second."""
    torch.manual_seed(lab.seed)
    policy = nn.Linear(3 * NUMBERS, ANSWERS)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for _ in range(lab.scale(100, 2)):
        losses = nn.functional.cross_entropy(policy(inputs[:2 * EACH]), answers[:2 * EACH], reduction="none")
        optimizer.zero_grad()
        (losses[:EACH].mean() + 0.05 * losses[EACH:].mean()).backward()
        optimizer.step()
    return policy


def reinforced(lab: Lab, begun: nn.Module, inputs: torch.Tensor, answers: torch.Tensor, steps: int,
               rate: float) -> tuple[nn.Module, np.ndarray]:
    """A copy of the policy after so many steps, and the mean reward of each item in each epoch [N, K]."""
    torch.manual_seed(lab.seed)
    policy = nn.Linear(3 * NUMBERS, ANSWERS)
    policy.load_state_dict(begun.state_dict())
    optimizer, seen, order = torch.optim.Adam(policy.parameters(), lr=rate), [[] for _ in inputs], []
    for _ in range(steps):
        order = order or torch.randperm(len(inputs)).tolist()
        batch, order = order[:BATCH], order[BATCH:]
        chances = torch.distributions.Categorical(logits=policy(inputs[batch]))
        drawn = chances.sample((DRAWS,))
        rewards = (drawn == answers[batch]).float()
        loss = -((rewards - rewards.mean(dim=0)) * chances.log_prob(drawn)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lab.spent(forward=len(batch) * DRAWS, backward=len(batch) * DRAWS)
        for item, reward in zip(batch, rewards.mean(dim=0).tolist(), strict=True):
            seen[item].append(reward)
    epochs = min(map(len, seen))
    return policy, np.array([rewards[:epochs] for rewards in seen])
