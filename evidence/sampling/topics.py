"""Steps of queries of one topic, with spread margins and a teacher, make a better retriever than steps by chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.nn import functional as F

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

ASKED, TOLD = 12, 60  # words of a query, and of the passage that follows it
ROWS, TESTED, WIDTH, TOPICS, BATCH, EPOCHS = 800, 300, 96, 12, 32, 8
HEAT = 0.05  # of the softmax over passages


@claim(
    papers=(83,),
    says="A linear map of the few main components of word counts learns to find the passage that follows the first "
         "words of a post. In as many steps it ranks passages of new posts better where each step is of one topic than "
         "where steps are by chance, both taught by the margins of a sentence encoder; and better with one topic, "
         "spread margins and that teacher than with right passages alone and steps by chance.",
    holds_if=("reciprocal rank: topics > random", "reciprocal rank: balanced > contrastive"),
    arms={"balanced": {"sampling": "topics", "spread": True}, "topics": {"sampling": "topics"},
          "random": {"sampling": "shuffle"}, "contrastive": {"sampling": "shuffle", "taught": False},
          "contrastive topics": {"sampling": "topics", "taught": False}},
    search={"learning_rate": (1e-2, 3e-2)}, tuned_for="reciprocal rank", better="higher",
    methods=("sampling/topics", "sampling/shuffle"),
    unequal="the last step of a topic is not full, so that as many steps of topics see fewer queries",
    minutes=3,
)
def topics(lab: Lab, *, sampling: str, spread: bool = False, taught: bool = True,
           learning_rate: float) -> dict[str, float]:
    q, p, teacher = posts(lab, lab.scale(ROWS, 80) + lab.scale(TESTED, 40))
    rows = lab.scale(ROWS, 80)
    found = KMeans(lab.scale(TOPICS, 4), n_init=1, random_state=lab.seed).fit_predict(q[:rows].numpy())
    rivals = np.array([lab.rng.choice(np.flatnonzero(found == topic)) for topic in found])
    margins = np.diag(teacher)[:rows] - teacher[np.arange(rows), rivals]
    own = {"topic_of": tuple(found.tolist()), "margins": tuple(margins.tolist()) if spread else ()}
    feed = build("sampling", sampling, own if sampling == "topics" else {}).feed(
        [Encoded([0], [True], row=i) for i in range(rows)], batch_size=BATCH, seed=lab.seed)
    weight = torch.eye(q.shape[1], requires_grad=True)
    adam, seen = torch.optim.Adam([weight], lr=learning_rate / q.shape[1] ** 0.5), 0
    for step in range(EPOCHS * -(-rows // BATCH)):
        drawn = feed.indices(step)
        right, wrong = torch.tensor(drawn), torch.tensor(rivals[drawn])
        adam.zero_grad()
        scores = (q[right] @ weight) @ (torch.cat([p[right], p[wrong]]) @ weight).T
        loss = margin_loss(scores, torch.tensor(teacher[drawn][:, [*drawn, *rivals[drawn]]])) if taught else \
            F.cross_entropy(scores[:, :len(drawn)] / HEAT, torch.arange(len(drawn)))
        loss.backward()
        adam.step()
        seen += len(drawn)
    lab.spent(forward=seen, backward=seen)
    return {"reciprocal rank": ranked(q[rows:], p[rows:], weight.detach()), "queries": seen}


def margin_loss(scores: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """The mean square of what the margins of right passages above all others lack of the teacher's."""
    of_own, of_teacher = (one.diagonal()[:, None] - one for one in (scores, taught))
    return F.mse_loss(of_own, of_teacher)


def posts(lab: Lab, count: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Features of queries and passages [N, D], and the teacher's scores of those to learn from, all float32."""
    cut = [text.split()[:ASKED + TOLD] for text in lab.texts() if len(text.split()) >= ASKED + TOLD]
    drawn = [cut[i] for i in lab.rng.permutation(len(cut))[:count]]
    asked, told = ([" ".join(words[part]) for words in drawn] for part in (slice(ASKED), slice(ASKED, None)))
    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit(told)
    few = TruncatedSVD(min(WIDTH, count - 1), random_state=lab.seed).fit(words.transform(told))
    q, p = (F.normalize(torch.tensor(few.transform(words.transform(side)), dtype=torch.float32))
            for side in (asked, told))
    rows = lab.scale(ROWS, 80)

    def make(folder: Path) -> None:
        known = lab.directions(lab.minilm(), asked[:rows] + told[:rows], max_tokens=64)
        np.save(folder / "scores.npy", known[:rows] @ known[rows:].T)

    kept = cache().step("topics-teacher", [asked[:rows], told[:rows]], make)
    return q, p, np.load(kept / "scores.npy", allow_pickle=False)


def ranked(q: torch.Tensor, p: torch.Tensor, weight: torch.Tensor) -> float:
    """The mean over queries of one over the rank of the right passage among all."""
    scores = (q @ weight) @ (p @ weight).T
    return float((1 / (scores >= scores.diagonal()[:, None]).sum(dim=1)).mean())
