"""Selections as `select` leaves them: one with scores, one without, and one that goes to the edges."""

from __future__ import annotations

import numpy as np
from unit.reports import sample

from scrimp.data.selection import Selection
from scrimp.data.selection.survey import survey
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.reports.selection import Record

WORDS = ["the", "camera", "shakes", "and", "jokes", "are", "older", "than", "we", "yet", "still", "laughed", "all"]


def record(pool: Examples, found: Selection, *, vectors: np.ndarray | None = None, **changed: object) -> Record:
    """What `select` would make the page of."""
    given: dict[str, object] = {
        "method": "margin", "asked": {"data": "pool.jsonl", "keep": 0.1}, "pool": pool, "found": found,
        "seen": survey(pool, found.indices, vectors=vectors), "bill": sample.bill(12.0, 0.4, 9_000),
        "parts": {"reading the rows": sample.bill(0.5, 0.2), "choosing": sample.bill(10.0, 0.4)},
        "learn": "scrimp fit chosen.jsonl --out run", **changed}
    return Record(**given)  # type: ignore[arg-type]


def reviews(count: int = 240) -> Examples:
    """Labelled rows with the fields that they were found with; every fortieth repeats the first."""
    rng = np.random.default_rng(0)
    rows = [{"text": " ".join(rng.choice(WORDS, rng.integers(4, 12))), "label": ["good", "bad", "mixed"][i % 5 % 3]}
            for i in range(count)]
    return read([rows[0] if i % 40 == 0 else row for i, row in enumerate(rows)], keep_found=True)


def scored() -> Record:
    pool, rng = reviews(), np.random.default_rng(1)
    scores = rng.normal(size=len(pool))
    kept = np.argsort(-scores, kind="stable")[:24]
    reasons = [f"its margin is {score:.2f}" for score in scores]
    return record(pool, Selection(kept, scores, "the rows with the smallest margin", reasons),
                  vectors=rng.normal(size=(len(pool), 8)).astype(np.float32))


def unscored() -> Record:
    rows = [{"messages": [{"role": "user", "content": f"What is {i} and {i + 1}?"},
                          {"role": "assistant", "content": f"{2 * i + 1}"}]} for i in range(30)]
    return record(read(rows), Selection(np.arange(29, -1, -2), why="drawn by chance"))


def hostile(text: str = sample.NASTY) -> Record:
    """Every text, reason and name is an attack; a row's own text holds what a reader lets through."""
    inside = text.replace("\x00", "").encode("utf-8", "ignore").decode()
    rows = [{"text": f"{attack} {i} {inside}", "label": f"{attack}{i % 7}"}
            for i in range(40) for attack in sample.ATTACKS]
    pool = read(rows, keep_found=True)
    scores = np.linspace(-1e300, 1e300, len(pool))
    scores[:3] = np.nan, np.inf, -np.inf
    return record(pool, Selection(np.arange(50, 60), scores, text, [text] * len(pool)), method=text,
                  asked={text: text}, learn=text)


ALL = {"selection": scored, "selection-without-scores": unscored, "selection-hostile": hostile}
