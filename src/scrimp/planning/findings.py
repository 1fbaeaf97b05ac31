"""What a run came to: the winner put in place and checked, and everything that was found in one record."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import pstdev
from typing import TYPE_CHECKING, Any

from scrimp.core.errors import GuardError
from scrimp.core.ledger import environment
from scrimp.core.workspace import atomic_folder, atomic_write
from scrimp.evaluation.outcome import (
    WHOLE,
    DataSummary,
    Gain,
    InspectedRow,
    Outcome,
    Outlook,
    Review,
    Rung,
    Sample,
    Score,
)
from scrimp.examples.records import Examples, Layout, input_text, normal, told_labels

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run
    from scrimp.planning.rungs import Base
    from scrimp.serving.predictors import Prediction

__all__ = ["Climbed", "asked_for", "check_apart", "outcome", "parity_rows"]

_PARITY_ROWS = 8
_SAMPLES = 12
_LEAST_JUDGED = 8  # rows, by which something can be expected
#: largest difference of a probability: in bfloat16 a row's embedding depends a little on the rows beside it
_TOLERANCE = {"auto": 1e-3, "float32": 1e-3, "bfloat16": 0.03}


@dataclass(frozen=True)
class Climbed:
    """A rung that was tried: its record, and its predictions of the judged, the test and the parity check's rows."""

    record: Rung
    judged: list[Prediction]
    tested: list[Prediction]
    probed: list[Prediction]
    folder: Path


def outcome(run: Run, climbed: Sequence[Climbed], winner: Climbed, why: str, *, base: Base | None,
            outlook: Outlook | None = None, review: Review | None = None) -> Outcome:
    """The whole record of ``run``, its winner's model in place, which stands on ``base``.

    Raises:
        GuardError: if the winner, loaded from disk, predicts something else than what was evaluated.
    """
    check_apart(run)
    _hand_over(run, winner, base)
    before = next((one for one in climbed if one.record.kind == "untouched"), None)
    return Outcome(
        asked={**asked_for(run.request), "metric": run.metric}, data=_summary(run, winner),
        rungs=tuple(one.record for one in climbed),
        winner=winner.record.name, why=why, expected=_expected(run, climbed, winner),
        gains=_gains(run, winner, climbed), outlook=outlook,
        budget=run.request.budget.model_dump(exclude_none=True), bill=run.meter.bill(), parts=run.parts,
        foreseen=run.timing.foreseen[WHOLE],
        labels=run.train.labels, confusion=_confusion(run, winner), review=review or Review(),
        samples=_samples(run, before, winner),
        warnings=tuple(dict.fromkeys(run.warnings)), environment=environment(), reproduce="", predict="")


def check_apart(run: Run) -> None:
    """See that no test row was trained on, whatever was taken out before.

    Raises:
        GuardError: if one was.
    """
    learned = {normal(input_text(row)) for row in run.train.rows} if run.test is not None else set()
    seen = [i for i, row in enumerate(run.test.rows) if normal(input_text(row)) in learned] if run.test else []
    if seen and run.test is not None:
        raise GuardError(f"{len(seen)} test rows stand among the training rows", where=run.test.sources[seen[0]],
                         why="the scores would be of what was trained on",
                         fix="give test rows that were not taken from the training rows")


def parity_rows(train: Examples, test: Examples | None) -> Sequence[Any]:
    """A few rows on which a model must say the same before it is saved and after it is loaded."""
    return (test if test is not None else train).rows[:_PARITY_ROWS]


def _hand_over(run: Run, winner: Climbed, base: Base | None) -> None:
    """Copy the winner's model and check that, loaded from disk, it predicts what was evaluated."""
    from scrimp.serving.predictors import load_predictor

    target = run.folder / "model"
    with atomic_folder(target) as folder:
        shutil.copytree(winner.folder / "model", folder, dirs_exist_ok=True)
        atomic_write(folder / "README.md", _card(run, winner.record, base, folder))
    again = load_predictor(target).predict(parity_rows(run.train, run.test), meter=run.meter)
    tolerance, unit = _tolerance(target), _unit(run.train)
    for now, then in zip(again, winner.probed, strict=True):
        if not _same(now, then, tolerance, unit):
            raise GuardError("the saved model predicts something else than the one that was evaluated",
                             where=str(target), why=f"evaluated: {then}; loaded from disk: {now}",
                             fix="this is a defect of scrimp; please report it with the ledger")


def _tolerance(folder: Path) -> float:
    """Of probabilities that the predictor in ``folder`` tells; of a blend, that of its least exact member."""
    from scrimp.serving.base import MANIFEST, read_manifest
    from scrimp.serving.predictors import KINDS, Blend

    found = [read_manifest(path.parent, list(KINDS)) for path in folder.rglob(MANIFEST)]
    weight = sum(sum(Blend.weights_of(one).values()) for one in found if one.kind == Blend.kind)
    return max(1.0, weight) * max(_TOLERANCE[one.dtype] for one in found)


def _unit(train: Examples) -> float:
    """In what scores are told apart: their spread."""
    return pstdev(row["score"] for row in train.rows) or 1.0 if train.layout is Layout.SCORE else 1.0


def _same(now: Prediction, then: Prediction, tolerance: float, unit: float = 1.0) -> bool:
    """Whether two predictions agree: texts to the letter, probabilities, losses and scores within ``tolerance``.

    Scores are told in ``unit``.
    """
    if "score" in then:
        return bool(abs(now["score"] - then["score"]) <= tolerance * unit)
    if "scores" in now and "scores" in then:
        return all(abs(now["scores"][k] - then["scores"][k]) <= tolerance for k in then["scores"])
    if measured := {"loss", "chosen", "rejected"} & set(then):
        return all(abs(now[k] - then[k]) <= tolerance * max(1.0, abs(then[k])) for k in measured)
    return _answer(now) == _answer(then)


def _answer(prediction: Prediction) -> str:
    if "score" in prediction:
        return f"{prediction['score']:.4g}"
    if "labels" in prediction:
        return told_labels(prediction["labels"])
    return str(prediction["label"] if "label" in prediction else prediction["text"])


def _card(run: Run, record: Rung, base: Base | None, folder: Path) -> str:
    from scrimp.checkpoints.cards import card
    from scrimp.serving.memory import ANSWERS

    loads = None
    if base is not None and (folder / "adapter_config.json").exists():
        loads = "adapter" if base.causal else "pooled"
    return card({
        "name": record.title, "base": base.checkpoint.name if base is not None else None,
        "licence": base.checkpoint.licence if base is not None else None,
        "data": run.train.fingerprint, "rows": len(run.train),
        "recipe": record.chosen, "budget": run.request.budget.model_dump(exclude_none=True),
        "scores": record.test or (record.validation,), "retention": record.retention, "warnings": run.warnings,
        "remembers": any(folder.rglob(ANSWERS)), "loads": loads,
        "answers": str(run.train.layout) if run.train.layout.headed else "label",
    })


def asked_for(request: Any) -> dict[str, Any]:
    """What a person asked of `fit` or `tune`, in their words; rows that were given in Python have none."""
    named = {key: value if isinstance(value, str) else None
             for key, value in (("data", request.data), ("test", request.test))}
    return {**named, "model": request.model, "budget": request.budget.model_dump(exclude_none=True),
            "seed": request.seed, "instruction": request.instruction}


def _summary(run: Run, winner: Climbed) -> DataSummary:
    looked, train = run.looked, run.train
    counts = dict.fromkeys(train.labels, 0)
    for row in train.rows if train.labels else ():
        for label in row["labels"] if train.layout is Layout.LABELS else (row["label"],):
            counts[label] += 1
    return DataSummary(
        train_rows=len(train), validation_rows=len(winner.judged),
        test_rows=len(run.test) if run.test is not None else 0, test_origin=run.test_origin, layout=str(train.layout),
        layout_reason=train.layout_reason, labels=counts, duplicates=run.material.duplicates,
        leaked=run.material.leaked, tokens=looked.tokens, trained_tokens=looked.trained_tokens, longest=looked.longest,
        truncated=looked.truncated,
        inspected=tuple(InspectedRow(source=r.source, tokens=r.tokens, trained=r.trained) for r in looked.rows))


def _confusion(run: Run, winner: Climbed) -> tuple[tuple[int, ...], ...]:
    from scrimp.evaluation.tasks import confusion

    if run.test is None or run.train.layout is not Layout.LABEL:
        return ()
    table = confusion(winner.tested, run.test.subset(range(len(winner.tested))), run.train.labels)
    return tuple(tuple(int(count) for count in row) for row in table)


def _gains(run: Run, winner: Climbed, climbed: Sequence[Climbed]) -> tuple[Gain, ...]:
    """The winner against each other rung on the same test rows."""
    from scrimp.core.registry import build

    if run.test is None:
        return ()
    metric = build("metric", run.metric)
    found = []
    for one in climbed:
        if both := min(len(one.tested), len(winner.tested)) if one is not winner else 0:
            found.append((one, metric.compare(one.tested[:both], winner.tested[:both], run.test.rows[:both])))
    return tuple(Gain(over=one.record.name, **gain.model_dump()) for one, gain in found)


def _expected(run: Run, climbed: Sequence[Climbed], winner: Climbed) -> Score | None:
    """What the winner will score on other rows, where it was chosen among several on enough rows to say."""
    from scrimp.core.registry import build

    judged = [one for one in climbed if one.judged]
    if winner not in judged or len(judged) < 2 or len(winner.judged) < _LEAST_JUDGED:
        return None
    return build("metric", run.metric).expected([one.judged for one in judged], run.judged_rows, judged.index(winner))


def _samples(run: Run, before: Climbed | None, winner: Climbed) -> tuple[Sample, ...]:
    """Some test rows, those first where the winner says something else than the untouched model, or than what is true
    where none was asked.

    Of scores, those first that it misses by most.
    """
    if run.test is None or run.train.layout in (Layout.TEXT, Layout.PREFERENCE):
        return ()
    if run.train.layout is Layout.SCORE:
        return _missed(run.test, winner.tested)
    said = [_answer(p) for p in winner.tested]
    was: list[str | None] = [_answer(p) for p in before.tested[:len(said)]] if before else []
    was += [None] * (len(said) - len(was))
    shown = [run.base.template.shown(row) for row in run.test.rows[:len(said)]]
    found, beside = [], was if before else [target for _, target in shown]
    for i in sorted(range(len(said)), key=lambda i: (beside[i] is None, said[i] == beside[i]))[:_SAMPLES]:
        asked, target = shown[i]
        found.append(Sample(input=asked, target=target, before=was[i], after=said[i],
                            right=said[i].strip() == target.strip()))
    return tuple(found)


def _missed(test: Examples, said: Sequence[Prediction]) -> tuple[Sample, ...]:
    """The test rows whose score is missed by most."""
    worst = sorted(range(len(said)), key=lambda i: -abs(said[i]["score"] - test[i]["score"]))[:_SAMPLES]
    return tuple(Sample(input=test[i]["text"], target=f"{test[i]['score']:.4g}", before=None, after=_answer(said[i]),
                        right=None) for i in worst)
