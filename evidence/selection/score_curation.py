"""Ratings that are mistaken in a known way are put right by those of like rows."""

from __future__ import annotations

import numpy as np

from scrimp.data.selection.ratings import CuratedRatings, curated, levels_of, nearest_rows, transition_matrix
from scrimp.evidence import Lab, claim

SUBJECTS = (("comp.",), ("rec.",), ("sci.",), ("misc.",), ("talk.politics.",), ("alt.", "soc.", "talk.religion."))
LEVELS = len(SUBJECTS)
ERRORS = np.where(np.eye(LEVELS), 0.55, 0.09)


@claim(
    papers=(300,),
    says="Posts of newsgroups deserve ratings from 0 to 5 by which of six subjects they are on, and 45 percent are "
         "rated wrongly, each other rating as likely. From the ratings of like posts alone it is found out how "
         "ratings are mistaken, better than by taking them all for right; curated ratings err less than raw ones "
         "and than a vote of neighbours, and the tenth that they choose truly is better than those of raw ratings, "
         "of a vote, of length and of chance.",
    holds_if=("matrix error: curated < raw", "rating error: curated < raw", "rating error: curated < vote",
              "true rating: curated > raw", "true rating: curated > vote", "true rating: curated > longest",
              "true rating: curated > random"),
    arms={"curated": {"how": "curated"}, "raw": {"how": "raw"}, "vote": {"how": "vote"}, "longest": {"how": "longest"},
          "random": {"how": "random"}},
    methods=("selection/ds2",),
    minutes=2,
)
def score_curation(lab: Lab, *, how: str) -> dict[str, float]:
    per_class, more = lab.scale((10, 300), (2, 20))
    (texts, first, test_texts, second), (x, _, test_x, _) = (
        ask("20newsgroups", per_class, more) for ask in (lab.classes, lab.features))
    names, texts = lab.domains(), texts + test_texts
    subject = np.array([next(n for n, starts in enumerate(SUBJECTS) if name.startswith(starts)) for name in names])
    true, vectors = subject[np.concatenate([first, second])], np.concatenate([x, test_x])
    given = np.array([lab.rng.choice(LEVELS, p=ERRORS[k]) for k in true])
    near, _ = nearest_rows(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), CuratedRatings().neighbours)
    mistaken, share = transition_matrix(given, near, LEVELS)
    ratings = {
        "curated": lambda: curated(given, near, mistaken, share),
        "raw": lambda: given,
        "vote": lambda: np.array([np.bincount(row).argmax() for row in given[near]]),
        "longest": lambda: levels_of(np.array(list(map(len, texts))), LEVELS),
        "random": lambda: lab.rng.permutation(given),
    }[how]()
    best = np.argsort(-(ratings + lab.rng.random(len(true))), kind="stable")  # equal ratings in any order
    believed = mistaken if how == "curated" else np.eye(LEVELS)
    return {"matrix error": float(np.abs(believed - ERRORS).mean()),
            "rating error": float(np.abs(ratings - true).mean()),
            "true rating": float(true[best[:len(true) // 10]].mean())}
