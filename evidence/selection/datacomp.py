"""Of captioned rows, those that match and lie near the target teach more than either filter, and than all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read

AIMED, MISMATCHED = 10, 0.5  # groups of twenty that the target holds; share of captions that are another group's
SHARE = 0.15  # of the pool, that is kept: about what half of it and three tenths of it have in common
STEPS, BATCH, RATE, HEAT = 300, 64, 1e-2, 0.05


@claim(
    papers=(476,),
    says="Posts from twenty newsgroups are paired with the names of groups, half of which are wrong. A linear map to "
         "the embeddings of names learns from them contrastively, in as many steps in every arm. On posts of the ten "
         "groups of a target it names the group better where it saw the pairs that match best within the target's "
         "clusters than as many by chance, than all pairs, and than as many by either filter alone.",
    holds_if=("accuracy: datacomp > random", "accuracy: datacomp > all", "accuracy: datacomp > matched",
              "accuracy: datacomp > clusters"),
    arms={"datacomp": {"name": "datacomp"}, "matched": {"name": "agreement"}, "clusters": {"name": "target-clusters"},
          "random": {"name": "random"}, "all": {"name": "random", "share": 1.0}},
    methods=("selection/datacomp", "selection/agreement", "selection/target-clusters", "selection/random"),
    unequal="the map learns in as many steps in every arm; what choosing looks at beside is on the bill",
    minutes=2,
)
def datacomp(lab: Lab, *, name: str, share: float = SHARE) -> dict[str, float]:
    x, groups, test_x, test_groups = lab.features("20newsgroups", lab.scale(60, 12), lab.scale(400, 60))
    wrong = lab.rng.random(len(x)) < MISMATCHED
    told = np.where(wrong, (groups + lab.rng.integers(1, 20, size=len(x))) % 20, groups)
    aimed = lab.rng.permutation(20)[:AIMED]
    names = lab.directions(lab.minilm(), [group.replace(".", " ") for group in lab.domains()])
    known = lab.rng.permutation(np.flatnonzero(np.isin(test_groups, aimed)))
    target, tested = np.array_split(known, [len(known) // 4])
    vectors = {**{f"name {i}": row for i, row in enumerate(names)}, **{f"pool {i}": row for i, row in enumerate(x)},
               **{f"target {i}": test_x[i] for i in target.tolist()}}
    pool = read([{"prompt": f"pool {i}", "completion": f"name {group}"} for i, group in enumerate(told)])
    wanted = read([{"text": f"target {i}"} for i in target.tolist()])
    signals: Any = SimpleNamespace(embeddings=lambda rows: np.stack(
        [vectors[row["text"] if "text" in row else row["prompt"]] for row in rows]))
    method = build("selection", name)
    kept = method.select(pool, round(share * len(x)), signals=signals, target=wanted, seed=lab.seed).indices
    lab.spent(forward=round(method.cost().forward * len(x)))
    said = aligned(lab, x[kept], told[kept], names)(test_x[tested])
    return {"accuracy": float((said == test_groups[tested]).mean()), "wrong": float(wrong[kept].mean()),
            "aimed": float(np.isin(groups[kept], aimed).mean())}


def aligned(lab: Lab, x: np.ndarray, told: np.ndarray, names: np.ndarray) -> Any:
    """A map that begins as the identity and learns to take rows to their names, of all names."""
    weight = torch.eye(x.shape[1], requires_grad=True)
    adam, captions = torch.optim.Adam([weight], lr=RATE / x.shape[1] ** 0.5), torch.tensor(names, dtype=torch.float32)

    def scores(rows: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tensor(rows) @ weight, dim=1) @ captions.T / HEAT

    for _ in range(lab.scale(STEPS, 4)):
        drawn = lab.rng.integers(len(x), size=BATCH)
        adam.zero_grad()
        torch.nn.functional.cross_entropy(scores(x[drawn]), torch.tensor(told[drawn])).backward()
        adam.step()
        lab.spent(forward=BATCH, backward=BATCH)
    return lambda rows: scores(rows).argmax(dim=1).numpy()
