"""The page of a run: one HTML file that needs no network, no script and no font of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrimp.core.workspace import atomic_write
from scrimp.evaluation.outcome import Outcome, Rung, Sample
from scrimp.reports import bills, charts, numbers, outlooks, plots, story, text
from scrimp.reports.charts import Bar, Chart, Dot, Point

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "write"]

_BARS, _LABEL_ROWS, _PAIRS, _MATRIX = 12, 150, 20, 25  # bars drawn, labels listed, pairs listed, classes in a matrix
_SAMPLES, _SAMPLE_BYTES = 10, 100_000  # shown, and what all their texts may weigh
_ROWS, _ROW_TOKENS = 4, 200  # inspected rows shown, tokens of each
_CURVES = 3


def write(outcome: Outcome, path: Path) -> None:
    """Render ``outcome`` to ``path``, atomically.

    Raises:
        DataError: if the record contradicts itself.
        WorkspaceError: if the file cannot be written.
    """
    atomic_write(path, render(outcome))


def render(outcome: Outcome) -> str:
    """The page as one string of HTML, under 400 kB for any outcome of a sane number of rungs.

    Raises:
        DataError: if the record contradicts itself.
    """
    story.check(outcome)
    place = story.standing(outcome)
    budget, other_limits = story.declared(outcome)
    return templates().get_template("page.html").render(
        outcome=outcome, data=outcome.data, winner=place.winner, place=place,
        headline=story.headline(outcome), verdict=story.verdict(place), expected=story.expected(outcome),
        plain=story.in_plain_words(place, outcome.rungs), forgotten=story.forgotten(place.winner),
        quantizations=list(filter(None, map(story.quantization, outcome.rungs))),
        limit=budget.time, other_limits=other_limits,
        score_chart=_score_chart(outcome, place), other_scores=_other_scores(outcome),
        retention_chart=_retention_chart(outcome), label_chart=_label_chart(outcome),
        token_chart=_token_chart(outcome), curves=list(_curves(outcome)),
        outlook_chart=outlooks.chart(outcome.outlook, story.outlook(outcome) or "") if outcome.outlook else None,
        outlook=story.outlook(outcome), limits_chart=_limits_chart(outcome),
        parts_chart=bills.parts_chart(outcome.parts, outcome.bill, limit=budget.time),
        foreseen=[rung for rung in outcome.rungs if rung.foreseen and rung.skipped is None],
        matrix=_matrix(outcome), pairs=_pairs(outcome), samples=_samples(outcome),
        review=outcome.review, doubtful=story.doubtful(outcome), to_label=story.to_label(outcome),
        repeated=story.repeated(outcome),
        changed=sum(sample.before != sample.after for sample in outcome.samples),
        rows=[(row, text.runs(row, most_tokens=_ROW_TOKENS)) for row in outcome.data.inspected[:_ROWS]],
    )


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Everything that a template prints is escaped, and made visible first, so that no template can forget to."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(loader=PackageLoader("scrimp.reports"), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    found.filters |= {
        "clip": text.clip, "count": numbers.count, "decimal": numbers.decimal, "duration": numbers.duration,
        "estimate": numbers.estimate, "facts": text.facts, "interval": numbers.interval, "metric": numbers.metric_name,
        "range": numbers.range_of, "short": numbers.short, "size": numbers.size,
    }
    found.globals |= {"share": numbers.share, "symbol": charts.symbol, "spot": plots.spot}
    return found


def _shown(value: Any) -> Any:
    return text.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _score_chart(outcome: Outcome, place: story.Standing) -> Chart | None:
    scored = [(rung, score) for rung in outcome.rungs if (score := place.of(rung))]
    if not scored or place.score is None:
        return None
    metric, rival = place.score.metric, place.rival_score
    better = "" if place.score.higher_is_better else ", lower is better"
    return charts.intervals(
        "scores", "Scores with their 95% intervals",
        f"{text.clip(place.winner.title, 90)} has {numbers.interval(place.score)}."
        + (f" {text.clip(place.rival.title, 90)} has {numbers.interval(rival)}." if place.rival and rival else ""),
        [Dot(rung.title, score.value, score.low, score.high, rung.kind, rung is place.winner)
         for rung, score in scored],
        axis=f"{numbers.metric_name(metric)} on {place.basis} rows{better}",
        say=lambda value: numbers.score(value, metric), percent=numbers.is_share(metric),
        reference=(rival.value, story.role(place.rival)) if rival and place.rival else None)


def _other_scores(outcome: Outcome) -> dict[str, list[str]]:
    """Beside the main score: of each rung, what else was measured on the test rows."""
    return {rung.title: [f"{numbers.metric_name(score.metric)} {numbers.interval(score)}" for score in rung.test[1:]]
            for rung in outcome.rungs if len(rung.test) > 1}


def _retention_chart(outcome: Outcome) -> Chart | None:
    measured = [(rung, rung.retention) for rung in outcome.rungs if rung.retention]
    if not measured:
        return None
    measure = measured[0][1].measure
    measured = [(rung, found) for rung, found in measured if found.measure == measure]
    return charts.intervals(
        "retention", "What was forgotten, with 95% intervals",
        "; ".join(f"{text.clip(rung.title, 90)} {numbers.interval(found)}" for rung, found in measured) + ".",
        [Dot(rung.title, found.change, found.low, found.high, rung.kind, rung.name == outcome.winner)
         for rung, found in measured],
        axis=f"change of {text.clip(measure, 60)}", say=numbers.change,
        reference=(0.0, "no change"))


def _label_chart(outcome: Outcome) -> Chart | None:
    ordered = sorted(outcome.data.labels.items(), key=lambda pair: (-pair[1], pair[0]))
    if not ordered:
        return None
    most, several = max(ordered[0][1], 1), outcome.data.layout == "labels"
    total = outcome.data.train_rows if several else sum(rows for _, rows in ordered)
    drawn = [Bar(label, 0, rows / most, f"{numbers.count(rows)} · {numbers.share(rows, total)}")
             for label, rows in ordered[:_BARS]]
    rest = len(ordered) - len(drawn)
    table = [(text.clip(label, 40), numbers.count(rows)) for label, rows in ordered[:_LABEL_ROWS]]
    table += [(f"{len(ordered) - _LABEL_ROWS:,} more labels", "")] if len(ordered) > _LABEL_ROWS else []
    few = f"; {rest} more labels with {ordered[-1][1]:,} to {ordered[_BARS][1]:,} rows are not drawn" if rest else ""
    return charts.bars("labels", f"Training rows of each label{few}",
                       f"{len(ordered)} labels, from {ordered[-1][1]:,} to {ordered[0][1]:,} rows.",
                       drawn, columns=("label", "rows"), table=table)


def _token_chart(outcome: Outcome) -> Chart | None:
    trained, tokens = outcome.data.trained_tokens, outcome.data.tokens
    if not tokens:
        return None
    share = numbers.share(trained, tokens)
    return charts.bars("tokens", "Tokens that the model was taught to write", f"{share} of all tokens are trained.",
                       [Bar("Trained", 0, trained / tokens, f"{trained:,} of {tokens:,} · {share}", strong=True)],
                       columns=("", "tokens"), track=True)


def _curves(outcome: Outcome) -> Iterator[list[Chart]]:
    """Of each trained rung, the winner first: training loss, and validation where it was taken."""
    trained = sorted((rung for rung in outcome.rungs if rung.curve), key=lambda rung: rung.name != outcome.winner)
    for index, rung in enumerate(trained[:_CURVES]):
        yield list(_curves_of(rung, f"curve-{index}"))


def _curves_of(rung: Rung, key: str) -> Iterator[Chart]:
    title, points = text.clip(rung.title, 60), rung.curve
    loss = [Point(point.step, point.loss) for point in points]
    computed = f" Computed {rung.computed}." if rung.computed else ""
    yield charts.curve(f"{key}-loss", f"Training loss of {title}", _from_to(loss) + computed, loss,
                       axis="training loss, nats a token", say=numbers.decimal)
    if taken := [Point(point.step, point.validation) for point in points if point.validation is not None]:
        yield charts.curve(f"{key}-validation", f"Validation of {title}", _from_to(taken), taken,
                           axis="validation", say=numbers.decimal, dotted=True)


def _from_to(points: list[Point]) -> str:
    first, last = points[0], points[-1]
    return (f"From {numbers.decimal(first.value)} at step {first.step:,} "
            f"to {numbers.decimal(last.value)} at step {last.step:,}.")


def _limits_chart(outcome: Outcome) -> Chart | None:
    """What was foreseen and what was spent of each limit; without limits, of whichever was more."""
    budget, bill, foreseen = story.declared(outcome)[0], outcome.bill, outcome.foreseen
    seconds, memory = (foreseen.wall_s, foreseen.peak_memory) if foreseen else (None, None)
    rows = [*_limited("Time", bill.wall_s, seconds, budget.time, numbers.duration),
            *_limited("Memory", bill.peak_memory, memory, budget.memory, numbers.size),
            *_limited("Tokens trained on", bill.tokens_backward, None, budget.tokens, numbers.short)]
    told = "; ".join(f"{row.label} {row.value}" for row in rows) + "."
    declared = any((budget.time, budget.memory, budget.tokens))
    title = "Spent of what was allowed" if declared else "Spent, beside what was foreseen"
    return charts.bars("limits", title, told, rows, columns=("", "amount"), track=True) if rows else None


def _limited(name: str, spent: float, foreseen: float | None, limit: float | None,
             say: Callable[[Any], str]) -> Iterator[Bar]:
    whole = limit or max(spent, foreseen or 0.0)
    if not whole or (limit is None and foreseen is None):
        return
    allowed, over = f" of {say(limit)}" if limit else "", " · over" if limit and spent > limit else ""
    yield Bar(name, 0, min(spent / whole, 1.0), f"{say(spent)}{allowed}{over}", strong=bool(over))
    if foreseen is not None:
        yield Bar(f"{name}, foreseen", 0, min(foreseen / whole, 1.0), say(foreseen))


@dataclass(frozen=True)
class _Cell:
    """A count of the confusion matrix: how strongly it is shaded (0 to 6), and whether it is on the diagonal."""

    count: int
    shade: int
    right: bool


def _matrix(outcome: Outcome) -> list[tuple[str, list[_Cell]]] | None:
    """Rows of true labels; each row is shaded by its own total, so that rare labels show too."""
    if not outcome.confusion or len(outcome.labels) > _MATRIX:
        return None
    return [(label, [_Cell(count, -(-6 * count // max(sum(row), 1)), i == j) for j, count in enumerate(row)])
            for i, (label, row) in enumerate(zip(outcome.labels, outcome.confusion, strict=True))]


def _pairs(outcome: Outcome) -> list[tuple[str, str, int, str]]:
    """The most frequent confusions: true label, predicted label, rows, and their share of the true label's rows."""
    found = [(true, predicted, count, numbers.share(count, sum(row)))
             for true, row in zip(outcome.labels, outcome.confusion, strict=bool(outcome.confusion))
             for predicted, count in zip(outcome.labels, row, strict=True) if count and predicted != true]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))[:_PAIRS]


def _samples(outcome: Outcome) -> list[tuple[Sample, dict[str, text.Clipped]]]:
    """Rows that changed first, otherwise in the record's order, each text clipped to its share of the page."""
    shown = sorted(outcome.samples, key=lambda sample: sample.before == sample.after)[:_SAMPLES]
    most = _SAMPLE_BYTES // (4 * max(len(shown), 1))
    return [(sample, {name: text.clipped(value, head=300, head_lines=8, most_bytes=most)
                      for name in ("input", "target", "before", "after")
                      if (value := getattr(sample, name)) is not None}) for sample in shown]
