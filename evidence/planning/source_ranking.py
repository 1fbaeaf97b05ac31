"""Which data to learn from first, told by sentence embeddings alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.signals.embeddings import embed_texts

ROWS, FEW, TESTED = 150, 16, 300  # of each newsgroup as a source, of each class of a target, of both its classes
HIDDEN, STEPS, TARGETS, TOP = 24, 150, 5, 3
DRAWS = 4  # of the target's few rows


@claim(
    papers=(261,),
    says="Ten tasks, each to tell one newsgroup from another; five of them in turn are the target, with 16 rows a "
         "class. A narrow layer over frozen sentence embeddings is trained on another task first, and a head over it "
         "on the target. The tasks whose mean embedding is nearest to the target's help most: of the three ranked "
         "first the best loses less than half of what the best of three by chance loses, and the ranking goes with "
         "the target's accuracy.",
    holds_if=("regret at 3: embeddings < 0.5 * chance", "rank correlation: embeddings > 0"),
    arms={"embeddings": {"ranked": True}, "chance": {"ranked": False}},
    methods=("ranking/mean-embedding",),
    minutes=3,
)
def source_ranking(lab: Lab, *, ranked: bool) -> dict[str, float]:
    from scipy.stats import spearmanr

    groups = lab.rng.permutation(lab.domains())[:lab.scale(20, 8)]
    tasks = {f"{a} or {b}": (_embedded(lab, a), _embedded(lab, b)) for a, b in zip(groups[::2], groups[1::2],
                                                                                    strict=True)}
    rows = {name: np.concatenate([both[0][:ROWS], both[1][:ROWS]]) for name, both in tasks.items()}
    regrets, correlations = [], []
    for target in list(tasks)[:lab.scale(TARGETS, 1)]:
        others = [name for name in tasks if name != target]
        reached = np.array([_transferred(lab, tasks[name], tasks[target]) for name in others])
        if ranked:
            scores = build("ranking", "mean-embedding").rank(
                rows[target], {name: rows[name] for name in others}).scores  # type: ignore[attr-defined]
            told = np.array([scores[name] for name in others])
            regrets.append(reached.max() - reached[np.argsort(-told)[:TOP]].max())
        else:
            told = lab.rng.random(len(others))
            regrets.append(np.mean([reached.max() - reached[lab.rng.permutation(len(others))[:TOP]].max()
                                    for _ in range(200)]))
        correlations.append(spearmanr(told, reached).statistic)
    return {"regret at 3": float(np.mean(regrets)), "rank correlation": float(np.nanmean(correlations))}


def _embedded(lab: Lab, group: str) -> np.ndarray:
    texts = lab.texts(group)
    drawn = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:ROWS + TESTED // 2]]
    return embed_texts(lab.minilm(), drawn, max_tokens=64, cache=cache().root / "lab-texts")


def _transferred(lab: Lab, source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray]) -> float:
    """Accuracy on the target's unseen rows after learning the source and then the few."""
    body = _body(lab, source)
    found = []
    for _ in range(DRAWS):
        picked = lab.rng.permutation(ROWS)[:FEW]
        learn, test = (_rows(tuple(part[places] for part in target))
                       for places in (picked, slice(ROWS, None)))
        model = _trained(nn.Linear(HIDDEN, 2), body(learn[0]).detach(), learn[1])
        with torch.inference_mode():
            found.append(float((model(body(test[0])).argmax(1) == test[1]).float().mean()))
    lab.spent(forward=STEPS * ROWS, backward=STEPS * ROWS)
    return float(np.mean(found))


def _body(lab: Lab, source: tuple[np.ndarray, np.ndarray]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(lab.seed)
        body = nn.Sequential(nn.Linear(source[0].shape[1], HIDDEN), nn.Tanh())
        head = nn.Linear(HIDDEN, 2)
    _trained(nn.Sequential(body, head), *_rows(tuple(part[:ROWS] for part in source)))
    return body


def _trained(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def _rows(parts: tuple[np.ndarray, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    return (torch.from_numpy(np.concatenate(parts)).float(),
            torch.cat([torch.full((len(part),), label) for label, part in enumerate(parts)]))
