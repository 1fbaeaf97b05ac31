"""Class means on frozen features are what continual learning has to beat."""

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

Array = np.ndarray
PARTS = 5  # of four newsgroups each, one after another
PASSES = 20


@claim(
    papers=(512,),
    says="With newsgroups arriving four at a time, class means of MiniLM features, learned in passing, are bit for bit "
         "those of all rows at once, whatever the order, and more accurate on all groups than a linear head that is "
         "fine-tuned on each part in turn; the head trained on everything at once shows that it could.",
    holds_if=("differing bits: streaming <= 0", "differing predictions: streaming <= 0",
              "accuracy: streaming > sequential", "accuracy: at-once > sequential"),
    arms={"streaming": {"how": "streaming"}, "sequential": {"how": "sequential"}, "at-once": {"how": "at-once"}},
    search={"learning_rate": (3e-4, 1e-3, 3e-3)}, tuned_for="accuracy", better="higher",
    methods=("head/nearest-mean",),
    unequal="class means take a single pass; the linear heads are given twenty, which is to their advantage",
    minutes=4,
)
def nearest_mean(lab: Lab, *, how: str, learning_rate: float) -> dict[str, float]:
    x, y, test_x, test_y = lab.features("20newsgroups", lab.scale(10, 2), lab.scale(300, 20))
    order = lab.rng.permutation(20).reshape(PARTS, -1)
    parts = [np.flatnonzero(np.isin(y, groups)) for groups in order]
    if how == "streaming":
        return streamed(x, y, test_x, test_y, parts, lab)
    torch.manual_seed(lab.seed)
    head = nn.Linear(x.shape[1], 20)
    for rows in parts if how == "sequential" else [lab.rng.permutation(len(x))]:
        tuned(head, x[rows], y[rows], learning_rate, lab)
    with torch.no_grad():
        said = head(torch.from_numpy(test_x)).argmax(1).numpy()
    return {"accuracy": float((said == test_y).mean())}


def streamed(x: Array, y: Array, test_x: Array, test_y: Array, parts: list[Array], lab: Lab) -> dict[str, float]:
    """Part by part, and within each in portions of three rows, against all rows at once."""
    method = build("head", "nearest-mean", {"normalise": True})
    first, *rest = [portion for rows in parts for portion in np.array_split(lab.rng.permutation(rows), len(rows) // 3)]
    head = method.fit(x[first], y[first], classes=int(y[first].max()) + 1)
    for portion in rest:
        head = head.partial_fit(x[portion], y[portion])
    whole = method.fit(x, y, classes=20)
    lab.spent(forward=len(x))
    said, wanted = head.predict(test_x), whole.predict(test_x)
    bits = sum((np.frombuffer(a.tobytes(), np.uint8) != np.frombuffer(b.tobytes(), np.uint8)).sum()
               for a, b in zip(head.arrays().values(), whole.arrays().values(), strict=True))
    return {"differing bits": bits, "differing predictions": int((said != wanted).sum()),
            "accuracy": float((said == test_y).mean())}


def tuned(head: nn.Linear, x: Array, y: Array, learning_rate: float, lab: Lab) -> None:
    """Some epochs of Adam in batches of 16."""
    steps = torch.optim.Adam(head.parameters(), lr=learning_rate)
    rows, answers = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(PASSES):
        for batch in np.array_split(lab.rng.permutation(len(x)), max(len(x) // 16, 1)):
            steps.zero_grad()
            nn.functional.cross_entropy(head(rows[batch]), answers[batch]).backward()
            steps.step()
    lab.spent(forward=PASSES * len(x), backward=PASSES * len(x))
