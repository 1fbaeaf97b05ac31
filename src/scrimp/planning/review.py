"""Rows that a person should look at: labels that look wrong, rows that repeat others, and rows to label next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.budget import Meter
from scrimp.core.workspace import atomic_write
from scrimp.data.selection.labelnoise import label_trust
from scrimp.evaluation.outcome import Noted, Repeats, Review
from scrimp.examples.records import Examples, Layout, input_text
from scrimp.planning.unlabelled import chances, most_telling, said_of

if TYPE_CHECKING:
    from scrimp.planning.findings import Climbed
    from scrimp.planning.ladder import Run
    from scrimp.planning.material import Material
    from scrimp.serving.predictors import Prediction

__all__ = ["NEXT", "review"]

NEXT = "label-next.jsonl"  #: file of a run: rows to have labelled, as a person labels them

_LISTED, _NEXT = 50, 100  # rows
_SHOWN = 300  # characters of a row
_TRUSTED = 0.3  # the probability that a label is right, from which on it is not listed
_SURE = 0.5  # of another label, for one to be listed
_LEAST = 1e-6  # of a probability
_LEAST_JUDGED = 20  # rows


def review(run: Run, winner: Climbed, meter: Meter) -> Review:
    """What the winner, which learned without the rows that it judged, and the rows themselves give to think about."""
    doubtful = _doubtful(run, winner.judged) if run.train.layout is Layout.LABEL else ()
    repeats = _repeats(run.material)
    if run.pool is None:
        return Review(doubtful=doubtful, repeats=repeats)
    said = said_of(run.pool, winner.folder / "model", meter, left_s=run.meter.remaining_s() - run.timing.closing_s)
    found = _next(run, run.pool, said)
    lines = [{"text": run.pool[i]["text"], "said": said[i]["label"], "scores": said[i]["scores"],
              "source": run.pool.sources[i]} for i in found]
    atomic_write(run.folder / NEXT, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    listed = tuple(_noted(run.pool[i], run.pool.sources[i], said[i]) for i in found[:_LISTED])
    return Review(doubtful=doubtful, repeats=repeats, next=listed, asked=len(said))


def _doubtful(run: Run, judged: Sequence[Prediction]) -> tuple[Noted, ...]:
    """Rows of whose labels little is to be trusted, and of which another label is said that is likelier than not.

    None where the winner is no better than chance, or there are too few rows to tell.
    """
    if len(judged) < _LEAST_JUDGED or not _beats_chance(run, judged):
        return ()
    rows, labels = run.judged_rows, sorted({row["label"] for row in run.judged_rows})
    given = np.maximum(chances(judged, labels), _LEAST)
    trust = label_trust(given / given.sum(axis=1, keepdims=True), np.array([labels.index(r["label"]) for r in rows]))
    doubted = [i for i in np.argsort(trust, kind="stable") if trust[i] < _TRUSTED
               and judged[i]["label"] != rows[i]["label"] and judged[i]["scores"][judged[i]["label"]] > _SURE]
    return tuple(_noted(rows[i], run.judged_sources[i], judged[i]) for i in doubted[:_LISTED])


def _beats_chance(run: Run, judged: Sequence[Prediction]) -> bool:
    """Whether its answers are clearly right more often than always the same one would be."""
    labels = [row["label"] for row in run.judged_rows]
    right = np.mean([one["label"] == label for one, label in zip(judged, labels, strict=True)])
    commonest = max(Counter(labels).values()) / len(labels)
    return bool(right - 1.96 * np.sqrt(right * (1 - right) / len(labels)) > commonest)


def _repeats(found: Material) -> tuple[Repeats, ...]:
    """Groups of rows that ask the same, those first that contradict each other."""
    torn, rows = {one.rows: one.labels for one in found.torn}, found.train
    groups = sorted(found.repeats, key=lambda group: group not in torn)[:_LISTED]
    return tuple(Repeats(sources=tuple(rows.sources[i] for i in group[:_LISTED]), labels=torn.get(group, ()),
                         text=input_text(rows[group[0]])[:_SHOWN]) for group in groups)


def _next(run: Run, pool: Examples, said: Sequence[Prediction]) -> list[int]:
    """Rows of the pool to have labelled, the most telling first."""
    given = chances(said, run.train.labels)
    counts = Counter(row["label"] for row in run.train.rows)
    return most_telling(given, [counts[label] for label in run.train.labels], _NEXT)


def _noted(row: Mapping[str, Any], source: str, said: Prediction) -> Noted:
    return Noted(source=source, text=row["text"][:_SHOWN], label=row.get("label", ""), said=said["label"],
                 chance=said["scores"][said["label"]])
