"""What is said of a run, and the table that says it on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from unit.reports import sample

from scrimp.evaluation.outcome import Outcome, Retention, Rung, Score
from scrimp.reports import story, terminal


def with_rungs(*rungs: Rung, winner: str) -> Outcome:
    return sample.bare().model_copy(update={"rungs": rungs, "winner": winner})


def rung(name: str, kind: str, value: float, **fields: object) -> Rung:
    return Rung(name=name, title=name.title(), kind=kind, test=(sample.accuracy(value, 50),), **fields)


def printed(outcome: Outcome) -> list[str]:
    console = Console(file=io.StringIO(), width=80, no_color=True)
    console.print(terminal.table(outcome))
    return console.file.getvalue().splitlines()


def test_the_rival_is_the_best_that_adapts_nothing() -> None:
    place = story.standing(sample.classification())
    assert place.rival is not None
    assert place.rival.name == "frozen-features"
    place = story.standing(sample.generation())
    assert place.rival is not None
    assert place.rival.kind == "untouched"


def test_a_winning_control_is_compared_with_the_best_adapted_model() -> None:
    outcome = with_rungs(rung("c", "control", 0.7), rung("a", "adapted", 0.5), rung("b", "adapted", 0.6), winner="c")
    assert "for the best adapted model" in story.headline(outcome)[1]
    assert "nothing is forgotten" in story.headline(outcome)[1]
    place = story.standing(outcome)
    assert place.rival is not None
    assert place.rival.name == "b"


def test_of_a_metric_where_less_is_better_the_lowest_rival_counts() -> None:
    def scored(name: str, kind: str, value: float) -> Rung:
        score = Score(metric="perplexity", value=value, low=value - 1, high=value + 1, n=9, higher_is_better=False)
        return Rung(name=name, title=name, kind=kind, test=(score,))
    place = story.standing(with_rungs(scored("a", "adapted", 5), scored("u", "untouched", 9), scored("c", "control", 7),
                                      winner="a"))
    assert place.rival is not None
    assert place.rival.name == "c"


def test_another_metric_is_no_rival() -> None:
    other = Rung(name="c", title="c", kind="control", test=(Score(metric="chrf", value=1, low=0, high=2, n=1),))
    assert story.standing(with_rungs(rung("a", "adapted", 0.5), other, winner="a")).rival is None


def test_overlapping_intervals_are_called_what_they_are() -> None:
    outcome = with_rungs(rung("a", "adapted", 0.6), rung("c", "control", 0.58), winner="a")
    assert "may be chance" in str(story.verdict(story.standing(outcome)))


@pytest.mark.parametrize(("measure", "change", "worse"), [
    ("general-text loss", 0.1, True), ("general-text loss", -0.1, False),
    ("agreement of similarities", -0.1, True), ("agreement of similarities", 0.1, False),
])
def test_forgetting_has_a_direction(measure: str, change: float, worse: bool) -> None:
    found = Retention(measure=measure, before=1, after=1 + change, low=change - 0.01, high=change + 0.01,
                      higher_is_better="agreement" in measure)
    assert story.worsened(found) is worse
    told = story.forgotten(Rung(name="a", title="a", kind="adapted", retention=found))
    assert told.startswith("it forgot some" if worse else "it forgot nothing")


def test_a_change_that_may_be_nothing_is_no_forgetting() -> None:
    assert story.forgotten(sample.generation().best) == "no forgetting could be measured"


def test_the_terminal_table_fits_80_columns_with_all_numbers() -> None:
    lines = printed(sample.classification())
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    chosen = next(line for line in lines if line.startswith("* "))
    assert " ".join(chosen.split()) == "* lora 73.0% [68.4, 77.1] +0.021 128.0 2.1 GiB 2.4M 9.3 MiB"
    assert [line[2:].split()[0] for line in lines if "[" in line and "%" in line and line[0] in " *"] == [
        "zero-shot", "word-counts", "frozen-features", "lora"]
    assert "not run: full, needs about 6 min, and 38 s of the time budget are left" in lines


def test_what_was_foreseen_stands_beside_what_it_took() -> None:
    text = "\n".join(printed(sample.classification()))
    assert "foreseen for the run: 3 min 35 s, took 3 min 41 s; 2.0 GiB, took 2.1 GiB" in text
    assert "foreseen for lora: 1 min 58 s, took 2 min 8 s; 2.0 GiB, took 2.1 GiB" in text
    assert "foreseen for zero-shot: 24 s, took 21 s\n" in text
    assert "foreseen" not in "\n".join(printed(sample.generation()))


@pytest.mark.parametrize("name", sample.ALL)
def test_every_sample_has_a_table(name: str) -> None:
    text = "\n".join(printed(sample.ALL[name]()))
    assert "* " in text
    assert "\x00" not in text
    text.encode("utf-8")


def test_text_that_looks_like_markup_is_printed_as_it_is() -> None:
    text = "\n".join(printed(with_rungs(rung("[red]x[/]", "adapted", 0.5), winner="[red]x[/]")))
    assert "[red]x[/]" in text


def test_what_four_bits_cost_is_one_sentence_with_its_interval() -> None:
    found = Retention(measure="general-text loss (nats per token)", before=3.412, after=3.501, low=0.081, high=0.097)
    lora = rung("lora", "adapted", 0.7, quantization=found)
    assert story.quantization(lora) == (
        "The base in four bits, before training: general-text loss (nats per token) 3.501 instead of 3.412, "
        "a change of +0.089 [+0.081, +0.097].")
    assert story.quantization(rung("lora", "adapted", 0.7)) is None
    said = " ".join(line.strip() for line in printed(with_rungs(lora, winner="lora")))
    assert "lora: The base in four bits, before training" in said and "+0.089" in said


def test_without_test_rows_it_is_said_what_to_expect() -> None:
    judged = sample.accuracy(0.8, 40)
    ways = [Rung(name=name, title=name, kind="control", validation=judged) for name in "ab"]
    outcome = with_rungs(*ways, winner="a").model_copy(update={"expected": sample.accuracy(0.74, 40)})
    assert "expect accuracy of about 74.0% (95% interval" in (story.expected(outcome) or "")
    assert "the best of 2 ways" in " ".join(line.strip() for line in printed(outcome))
    tested = outcome.model_copy(update={"rungs": (rung("a", "control", 0.7), ways[1])})
    assert story.expected(tested) is None
