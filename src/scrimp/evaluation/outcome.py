"""Everything a run found, in one typed record: the content of `scores.json` and the one input of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from scrimp.core.budget import Bill
from scrimp.core.errors import DataError, OptionError
from scrimp.core.options import Options
from scrimp.core.workspace import atomic_write
from scrimp.tuning.curve import CurvePoint

__all__ = ["WHOLE", "CurvePoint", "DataSummary", "Forecast", "Gain", "InspectedRow", "Outcome", "Outlook", "Retention",
           "Rung", "Sample", "Score"]

WHOLE = "the whole run"  #: its name among those of its ways, where a forecast is told of each


class Score(Options):
    """One number with its 95 % interval.

    Attributes:
        metric: registered name, such as ``accuracy``.
        value, low, high: the estimate and its interval, in the metric's own unit.
        n: rows it was measured on.
        higher_is_better: the direction.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool = True


class Retention(Options):
    """What the model could do before and can do now, away from the task.

    Attributes:
        measure: what ``before`` and ``after`` are: held-out general-text loss in nats a token (causal models; lower is
            better), or agreement of sentence similarities with the base (encoders; higher is better).
        higher_is_better: the direction of the measure.
        before, after: the measure of the untouched and of the adapted model.
        low, high: 95 % interval of ``after - before`` over the texts, paired.
        skills_before, skills_after: share of a small fixed set of general questions answered right; None for encoders.
        skills_n: how many questions.
    """

    measure: str
    before: float
    after: float
    low: float
    high: float
    higher_is_better: bool = False
    skills_before: float | None = None
    skills_after: float | None = None
    skills_n: int = 0

    @property
    def change(self) -> float:
        """``after - before``."""
        return self.after - self.before


class Gain(Options):
    """By how much the winner beats another rung on the same rows, paired, with a 95 % interval.

    Attributes:
        over: name of the other rung.
        metric, value, low, high, n: the difference, winner minus other, in the metric's unit.
    """

    over: str
    metric: str
    value: float
    low: float
    high: float
    n: int


class Forecast(Options):
    """What was foreseen before the work began; `Bill` has what it then took.

    Attributes:
        wall_s: seconds, a training that the budget cuts included as it will be cut.
        peak_memory: resident bytes at their highest; None where nothing was measured to foresee it from.
    """

    wall_s: float
    peak_memory: int | None = None


class Rung(Options):
    """One way that was tried: a control, the untouched model, an adapted one, or a blend of these.

    Attributes:
        name: short, unique, such as ``lora``.
        title: what a person reads, such as ``LoRA on SmolLM2-135M``.
        kind: the part it plays.
        base: name of the model that it stands on; empty where it needs none.
        validation: the score it was chosen by, out of fold or on held-out training rows; None where not taken.
        test: scores on the test rows, the main one first; empty where there are none.
        retention: None for what changes no model.
        quantization: what holding the base in fewer bits costs by itself, before training; None where it was not.
        foreseen: what its `bill` was predicted to be; None for what costs next to nothing.
        trainable: parameters that were trained.
        ship_bytes: bytes that must be shipped beside the base model.
        skipped: why it was not run, or None.
        chosen: the settings that produced it.
        computed: on which path its training was computed, and why.
    """

    name: str
    title: str
    kind: Literal["untouched", "control", "adapted", "blend"]
    base: str = ""
    validation: Score | None = None
    test: tuple[Score, ...] = ()
    retention: Retention | None = None
    quantization: Retention | None = None
    bill: Bill = Bill()
    foreseen: Forecast | None = None
    trainable: int = 0
    ship_bytes: int = 0
    curve: tuple[CurvePoint, ...] = ()
    skipped: str | None = None
    computed: str = ""
    chosen: dict[str, Any] = {}


class Outlook(Options):
    """What twice the labels would buy, by the winner's learning curve.

    Attributes:
        rows: training rows that there are.
        twice: as many again.
        measured: rows that were learned from and the score, each on the rows that the winner was judged on.
        now: the score that the curve has at `rows`.
        then: the score that would be measured on the same rows after learning from `twice`, with its 95 % interval.
    """

    rows: int
    twice: int
    measured: tuple[tuple[int, float], ...]
    now: float
    then: Score


class Sample(Options):
    """A test row with what was wanted and what the untouched and the chosen model said.

    Attributes:
        right: whether that is what was wanted; None of scores, which are more or less so.
    """

    input: str
    target: str
    before: str | None
    after: str
    right: bool | None


class Noted(Options):
    """A row that a person should look at.

    Attributes:
        source: where it stands.
        text: how it begins.
        label: that it has; empty where it has none.
        said: the label that the chosen way gives it; of a labelled row, without having learned from it.
        chance: the probability that the chosen way gives `said`.
    """

    source: str
    text: str
    label: str = ""
    said: str
    chance: float


class Repeats(Options):
    """Training rows that ask the same.

    Attributes:
        sources: where they stand.
        text: how they begin.
        labels: with which labels or scores they stand, if there are several.
    """

    sources: tuple[str, ...]
    text: str
    labels: tuple[str, ...] = ()


class Review(Options):
    """Rows that a person should look at.

    Attributes:
        doubtful: training rows whose labels look wrong, the most doubtful first.
        repeats: training rows that ask the same, those with several labels first.
        next: rows without labels whose labels would teach most, the most telling first.
        asked: rows without labels that were looked at for that.
    """

    doubtful: tuple[Noted, ...] = ()
    repeats: tuple[Repeats, ...] = ()
    next: tuple[Noted, ...] = ()
    asked: int = 0


class InspectedRow(Options):
    """A training row as the model saw it: token texts, and whether each is trained."""

    source: str
    tokens: tuple[str, ...]
    trained: tuple[bool, ...]


class DataSummary(Options):
    """What the examples are: counts, layout, labels, lengths, duplicates, leakage, and the trained-token share."""

    train_rows: int
    validation_rows: int
    test_rows: int
    test_origin: str
    layout: str
    layout_reason: str
    labels: dict[str, int] = {}
    skipped_rows: int = 0
    duplicates: int = 0
    leaked: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    truncated: int = 0
    inspected: tuple[InspectedRow, ...] = ()


FORMAT = 1  #: of the record; bumped when a scrimp of before could misread it


class Outcome(Options):
    """A whole run.

    Attributes:
        format: version of this record.
        inputs: fingerprint of all that makes the run: what was asked, the rows, the base model.
        asked: the request in the person's words: data, model, budget, seed, command.
        winner: name of the winning rung.
        gains: how the winner compares with each other rung on the test rows.
        why: one sentence on how it was chosen.
        expected: what the winner will score on other rows, by those that it was chosen on and without the optimism of
            having been chosen; None where nothing was chosen.
        outlook: what twice the labels would buy; None where it was not cheap to find out.
        budget: declared limits; `bill` has what was spent of them.
        foreseen: what `bill` was predicted to be, once the first moments had been measured.
        parts: bill of each part of the run, in order.
        review: rows to look at.
        confusion: rows are true labels, columns predicted ones, in `labels`' order; of the winner on the test rows.
        warnings: what the guards said, worst first.
        environment: versions, device, processor, threads.
        reproduce, predict: the commands.
    """

    format: int = FORMAT
    inputs: str = ""
    asked: dict[str, Any]
    data: DataSummary
    rungs: tuple[Rung, ...]
    winner: str
    why: str
    expected: Score | None = None
    gains: tuple[Gain, ...] = ()
    outlook: Outlook | None = None
    budget: dict[str, Any] = {}
    foreseen: Forecast | None = None
    bill: Bill
    parts: dict[str, Bill] = {}
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    review: Review = Review()
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    environment: dict[str, Any] = {}
    reproduce: str
    predict: str

    @property
    def best(self) -> Rung:
        """The winning rung."""
        return next(rung for rung in self.rungs if rung.name == self.winner)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        atomic_write(path, json.dumps(self.model_dump(mode="json"), indent=1))

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """Read what `save` wrote.

        Raises:
            DataError: it is something else, or of a newer format.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            _check_format(told, path)
            return cls.parse(told, where=str(path))
        except OptionError as error:
            raise DataError("this is no record of a run", where=str(path), why=error.what) from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise DataError("this is no record of a run", where=str(path), why=str(error)) from None


def _check_format(told: Any, path: Path) -> None:
    """Before anything else is read: what a newer record says otherwise must not pass for a damaged one."""
    found = told.get("format", FORMAT) if isinstance(told, dict) else FORMAT
    if isinstance(found, int) and not isinstance(found, bool) and found > FORMAT:
        raise DataError(f"the record has format {found}, this scrimp reads {FORMAT}", where=str(path),
                        fix="use the scrimp that wrote it, or a newer one")
