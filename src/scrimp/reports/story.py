"""What a run came to, in sentences: who won, against whom, what was forgotten and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scrimp.core.budget import Budget
from scrimp.core.errors import DataError
from scrimp.evaluation.outcome import Outcome, Retention, Rung, Score
from scrimp.reports import numbers
from scrimp.reports.text import clip

__all__ = ["ROLES", "Standing", "check", "cost", "declared", "expected", "forgotten", "headline", "in_plain_words",
           "outlook", "quantization", "role", "standing", "verdict", "worsened"]

Basis = Literal["test", "validation"]
ROLES = {"control": "the best control", "untouched": "the untouched model", "adapted": "the best adapted model",
         "blend": "the blend of several"}
_CONSTANT = "constant"  # the way that always says the same


def role(rung: Rung) -> str:
    """The part that a rung plays beside the winner, in words."""
    return "always the same answer" if rung.name == _CONSTANT else ROLES[rung.kind]


@dataclass(frozen=True)
class Standing:
    """The winner and its strongest rival, by the scores that every rung is compared on.

    Attributes:
        basis: whether those are test scores, or (without test rows) validation scores.
        score, rival_score: None where none was taken.
        rival: the best control or untouched model; the best adapted one where the winner adapts nothing itself.
    """

    basis: Basis
    winner: Rung
    score: Score | None
    rival: Rung | None
    rival_score: Score | None

    def of(self, rung: Rung) -> Score | None:
        """The score of any rung that can be compared with the winner's."""
        found = _scored(rung, self.basis)
        return found if found and self.score and found.metric == self.score.metric else None


def _scored(rung: Rung, basis: Basis) -> Score | None:
    if basis == "validation":
        return rung.validation
    return rung.test[0] if rung.test else None


def check(outcome: Outcome) -> None:
    """Raise a DataError for a record that contradicts itself, before a page is made of it."""
    names = [rung.name for rung in outcome.rungs]
    size = len(outcome.labels)
    faults = [
        (outcome.winner not in names, f"the winner '{outcome.winner}' is none of the rungs {names}"),
        (len(set(names)) < len(names), f"two rungs have the same name: {names}"),
        (bool(outcome.confusion) and [len(row) for row in outcome.confusion] != [size] * size,
         f"the confusion matrix is not {size} x {size}"),
        (any(len(row.tokens) != len(row.trained) for row in outcome.data.inspected),
         "an inspected row has more or fewer tokens than marks"),
    ]
    for wrong, what in faults:
        if wrong:
            raise DataError(what, where="the record of the run")


def standing(outcome: Outcome) -> Standing:
    """Compare on test scores if the winner has one, else on validation scores."""
    winner = outcome.best
    basis: Basis = "test" if winner.test else "validation"
    alone = Standing(basis, winner, _scored(winner, basis), None, None)
    against = ("control", "untouched") if winner.kind in ("adapted", "blend") else ("adapted", "blend")
    rivals = [(rung, score) for rung in outcome.rungs
              if rung.kind in against and rung is not winner and (score := alone.of(rung))]
    if not rivals and winner.kind == "control":
        rivals = [(rung, score) for rung in outcome.rungs
                  if rung.name == _CONSTANT and rung is not winner and (score := alone.of(rung))]
    if not rivals:
        return alone
    rival, score = max(rivals, key=lambda pair: pair[1].value if pair[1].higher_is_better else -pair[1].value)
    return Standing(basis, winner, alone.score, rival, score)


def headline(outcome: Outcome) -> tuple[str, str]:
    """The answer in one sentence, in two pieces: what to use, and what speaks for it."""
    place = standing(outcome)
    parts = [_measured(place) + _against(place), forgotten(place.winner), cost(outcome)]
    return f"Use {clip(place.winner.title, 120)}:", "; ".join(parts) + "."


def _measured(place: Standing) -> str:
    if place.score is None:
        return "it was not scored"
    rows = f"{numbers.count(place.score.n)} {place.basis} rows"
    found = numbers.spoken(place.score, "95% interval ")
    return f"{numbers.metric_name(place.score.metric)} {found} on {rows}"


def _against(place: Standing) -> str:
    if place.rival is None or place.rival_score is None:
        return ""
    return f", against {numbers.spoken(place.rival_score)} for {role(place.rival)}"


def forgotten(rung: Rung) -> str:
    """What the model lost away from the task, as a clause."""
    found = rung.retention
    if found is None:
        adapted = rung.kind == "adapted"
        return "what it forgot was not measured" if adapted else "nothing is forgotten, as it adapts no model"
    if found.low <= 0 <= found.high:
        return "no forgetting could be measured"
    sense = "it forgot some of what it knew" if worsened(found) else "it forgot nothing that shows, and even gained"
    return f"{sense} ({numbers.change(found.change)} in {found.measure})"


def quantization(rung: Rung) -> str | None:
    """What holding its base in four bits costs before anything is trained, as a sentence."""
    found = rung.quantization
    if found is None:
        return None
    return (f"The base in four bits, before training: {found.measure} {numbers.decimal(found.after)} instead of "
            f"{numbers.decimal(found.before)}, a change of {numbers.interval(found)}.")


def worsened(found: Retention) -> bool:
    """Whether the change is a loss of what was known: a loss that rises, or an agreement that falls."""
    return found.change < 0 if found.higher_is_better else found.change > 0


def declared(outcome: Outcome) -> tuple[Budget, dict[str, object]]:
    """The declared limits, and whatever else the record says beside them."""
    known = {key: value for key, value in outcome.budget.items() if key in Budget.model_fields}
    return Budget.parse(known, where="budget"), {k: v for k, v in outcome.budget.items() if k not in known}


def cost(outcome: Outcome) -> str:
    """The seconds of the whole run, as a clause."""
    limit = declared(outcome)[0].time
    spent = f"the whole run took {numbers.duration(outcome.bill.wall_s)}"
    return f"{spent} of the {numbers.duration(limit)} allowed" if limit else spent


def verdict(place: Standing) -> str | None:
    """Whether the winner's lead could be chance, judged by the two intervals."""
    if place.score is None or place.rival_score is None:
        return None
    best, rival = place.score, place.rival_score
    if best.low > rival.high or best.high < rival.low:
        return "The two intervals do not overlap, so chance alone hardly explains the difference."
    rows = f"{numbers.count(best.n)} rows"
    return f"The two intervals overlap: with {rows} the difference may be chance. More rows would tell."


def in_plain_words(place: Standing, rungs: Sequence[Rung]) -> str | None:
    """The score for those who do not read scores every day: an accuracy as rows of a hundred, an error as a miss."""
    if place.score is not None and place.score.metric == "rmse":
        return _missed_by(place, place.score, rungs)
    if place.score is None or not numbers.is_share(place.score.metric) or "f1" in place.score.metric.lower():
        return None
    told = f"Of 100 rows like these, about {_of_hundred(place.score)} come out right"
    untouched = next((rung for rung in rungs if rung.kind == "untouched"), None)
    before = place.of(untouched) if untouched and untouched is not place.winner else None
    return f"{told}; the model as it came gets about {_of_hundred(before)}." if before else f"{told}."


def _missed_by(place: Standing, score: Score, rungs: Sequence[Rung]) -> str:
    told = f"A typical prediction is off by about {numbers.score(score.value, score.metric)}"
    constant = next((rung for rung in rungs if rung.name == _CONSTANT and rung is not place.winner), None)
    before = place.of(constant) if constant else None
    beside = f"; always saying the mean is off by {numbers.score(before.value, before.metric)}" if before else ""
    return f"{told}{beside}."


def _of_hundred(score: Score) -> str:
    return f"{100 * score.value:.0f}"


def expected(outcome: Outcome) -> str | None:
    """What the winner will score on other rows, where it was not measured on any, in a sentence."""
    found = outcome.expected
    if found is None or outcome.best.test:
        return None
    tried = sum(rung.validation is not None for rung in outcome.rungs)
    return (f"On other rows expect {numbers.metric_name(found.metric)} of about "
            f"{numbers.spoken(found, '95% interval ')}: the best of {tried} ways looks better on the rows that it was "
            "chosen on than it is, and that is taken off.")


def doubtful(outcome: Outcome) -> str | None:
    """What is to be thought of labels that look wrong, in words."""
    found, judged = outcome.review.doubtful, outcome.best.validation
    if not found:
        return None
    told = f"Of {_rows(len(found))} the chosen way, which had not learned from them, says another label than they have."
    if judged is None:
        return told
    return f"{told} It is itself at {numbers.interval(judged)} on such rows: look before you change any."


def to_label(outcome: Outcome) -> str | None:
    """Which rows to have labelled next, in words."""
    if not outcome.review.next:
        return None
    return (f"Of {_rows(outcome.review.asked)} without labels that were looked at, the labels of these would teach "
            "most: the chosen way can least decide about them. They are in label-next.jsonl; write a \"label\" into "
            "its lines, add them to the training rows, and fit again.")


def repeated(outcome: Outcome) -> str | None:
    """How many rows ask what others ask, in words."""
    found = outcome.review.repeats
    torn = sum(bool(group.labels) for group in found)
    if not found:
        return None
    return f"{len(found)} texts stand in several rows" + (f", {torn} of them with different answers." if torn else ".")


def _rows(number: int) -> str:
    return f"{numbers.count(number)} row{'' if number == 1 else 's'}"


def outlook(outcome: Outcome) -> str | None:
    """What twice the labels would buy, in a sentence."""
    found = outcome.outlook
    if found is None:
        return None
    name, then = numbers.metric_name(found.then.metric), numbers.spoken(found.then, "95% interval ")
    what = "scores" if outcome.data.layout == "score" else "labels"
    return (f"With twice the {what} ({numbers.count(found.twice)} rows), {name} would be about {then} on these rows, "
            f"by its learning curve; with {numbers.count(found.rows)} rows the curve is at "
            f"{numbers.score(found.now, found.then.metric)}.")
