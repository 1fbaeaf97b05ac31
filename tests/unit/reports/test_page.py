"""The page: well-formed, self-contained and escaped, whatever the outcome."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.reports import sample
from unit.reports.markup import Page

from scrimp.core.budget import Bill
from scrimp.core.errors import DataError, WorkspaceError
from scrimp.evaluation.outcome import (
    CurvePoint,
    DataSummary,
    Forecast,
    InspectedRow,
    Noted,
    Outcome,
    Outlook,
    Repeats,
    Retention,
    Review,
    Rung,
    Sample,
    Score,
)
from scrimp.reports import page
from scrimp.reports.bills import parts_chart

_TAGS = frozenset({
    "html", "head", "meta", "title", "link", "style", "body", "a", "header", "p", "b", "i", "nav", "main", "section",
    "h1", "h2", "h3", "h4", "span", "bdi", "ul", "ol", "li", "div", "table", "thead", "tbody", "tr", "th", "td",
    "small", "figure", "figcaption", "svg", "g", "desc", "line", "text", "rect", "path", "circle", "polyline",
    "details", "summary", "dl", "dt", "dd", "pre", "code", "mark", "abbr", "footer",
})

number = st.floats(-1e9, 1e9, allow_nan=False)
natural = st.integers(0, 10**12)
words = st.one_of(st.sampled_from((*sample.ATTACKS, sample.ARABIC, sample.EMOJI, "", "\n\n", "\x00\ud800", "a" * 300)),
                  st.text(st.characters(), max_size=30))
anything = st.recursive(st.one_of(words, natural, number, st.booleans(), st.none()),
                        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
                        max_leaves=5)


@st.composite
def scores(draw: st.DrawFn) -> Score:
    low, value, high = sorted(draw(st.tuples(number, number, number)))
    metric = draw(st.sampled_from(("accuracy", "macro-f1", "chrf", "perplexity", "own <metric>")))
    return Score(metric=metric, value=value, low=low, high=high, n=draw(natural), higher_is_better=draw(st.booleans()))


bills = st.builds(Bill, wall_s=st.floats(0, 1e7), cpu_s=st.floats(0, 1e7), tokens_forward=natural,
                  tokens_backward=natural, flops=st.floats(0, 1e24), peak_memory=natural)
forecasts = st.builds(Forecast, wall_s=st.floats(0, 1e7), peak_memory=st.none() | natural)
points = st.builds(CurvePoint, step=st.integers(0, 10**6), seconds=number, loss=number, learning_rate=number,
                   validation=st.none() | number)
retentions = st.builds(Retention, measure=words, before=number, after=number, low=number, high=number,
                       skills_before=st.none() | st.floats(0, 1), skills_after=st.none() | st.floats(0, 1),
                       skills_n=st.integers(0, 100))


def rungs(name: str) -> st.SearchStrategy[Rung]:
    return st.builds(
        Rung, name=st.just(name), title=words, kind=st.sampled_from(("untouched", "control", "adapted")),
        validation=st.none() | scores(), test=st.lists(scores(), max_size=2).map(tuple),
        retention=st.none() | retentions, bill=bills, foreseen=st.none() | forecasts,
        trainable=natural, ship_bytes=natural,
        curve=st.lists(points, max_size=4).map(tuple),
        skipped=st.none() | words, chosen=st.dictionaries(words, anything, max_size=2))


inspected = st.lists(st.tuples(words, st.booleans()), max_size=8).flatmap(lambda marked: st.builds(
    InspectedRow, source=words, tokens=st.just(tuple(token for token, _ in marked)),
    trained=st.just(tuple(trained for _, trained in marked))))
summaries = st.builds(
    DataSummary, train_rows=natural, validation_rows=natural, test_rows=natural, test_origin=words, layout=words,
    layout_reason=words, labels=st.dictionaries(words, natural, max_size=30), tokens=natural, trained_tokens=natural,
    inspected=st.lists(inspected, max_size=2).map(tuple))
samples = st.lists(st.builds(Sample, input=words, target=words, before=st.none() | words, after=words,
                             right=st.booleans()), max_size=3).map(tuple)


outlooks = st.builds(Outlook, rows=natural, twice=natural, now=number, then=scores(),
                     measured=st.lists(st.tuples(natural, number), max_size=5).map(tuple))


noted = st.lists(st.builds(Noted, source=words, text=words, label=words, said=words, chance=st.floats(0, 1)),
                 max_size=3).map(tuple)
reviews = st.builds(Review, doubtful=noted, next=noted, asked=natural, repeats=st.lists(st.builds(
    Repeats, sources=st.lists(words, min_size=1, max_size=3).map(tuple), text=words,
    labels=st.lists(words, max_size=2).map(tuple)), max_size=3).map(tuple))


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    names = draw(st.lists(words, min_size=1, max_size=4, unique=True))
    labels = draw(st.lists(words, max_size=28, unique=True))
    row = st.tuples(*[st.integers(0, 50)] * len(labels))
    return Outcome(
        asked=draw(st.dictionaries(words, anything, max_size=3)), data=draw(summaries),
        rungs=tuple(draw(rungs(name)) for name in names), winner=draw(st.sampled_from(names)), why=draw(words),
        outlook=draw(st.none() | outlooks), review=draw(reviews),
        budget=draw(st.sampled_from(({}, {"time": 60.0}, {"time": "4m", "memory": "2GiB", "tokens": 5, "own": 1}))),
        bill=draw(bills), foreseen=draw(st.none() | forecasts),
        parts=draw(st.dictionaries(words, bills, max_size=4)), labels=tuple(labels),
        confusion=tuple(draw(row) for _ in labels) if draw(st.booleans()) else (), samples=draw(samples),
        warnings=draw(st.lists(words, max_size=2).map(tuple)),
        environment=draw(st.dictionaries(words, anything, max_size=3)), reproduce=draw(words), predict=draw(words))


def assert_sound(html: str) -> Page:
    """What holds for every page."""
    found = Page(html)
    assert found.faults == []
    assert len(found.ids) == len(set(found.ids))
    assert {tag for tag, _ in found.elements} <= _TAGS
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for link in (attributes.get("href"), attributes.get("src")):
            assert link is None or link == "data:," or link.removeprefix("#") in found.ids, (tag, link)
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) is None or attributes[name] in found.ids
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.headings, found.headings[1:], strict=False))
    assert "nan" not in re.findall(r'="([^"]*)"', html)
    assert len(html.encode("utf-8", "backslashreplace")) < 400_000
    html.encode("utf-8")
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(outcomes())
def test_any_outcome_makes_a_sound_page(outcome: Outcome) -> None:
    assert_sound(page.render(outcome))


@pytest.mark.parametrize("name", sample.ALL)
def test_samples_make_sound_pages(name: str) -> None:
    assert_sound(page.render(sample.ALL[name]()))


@pytest.mark.parametrize("char", ["&", "字", "👩", "\u202e", "w"])
def test_the_heaviest_texts_do_not_make_a_heavy_page(char: str) -> None:
    row = InspectedRow(source=char * 999, tokens=(char * 999,) * 2000, trained=(True, False) * 1000)
    outcome = sample.hostile(char * 10_000)
    data = outcome.data.model_copy(update={"inspected": (row,) * 20,
                                           "labels": {f"{char * 500}{n}": n for n in range(1000)}})
    assert_sound(page.render(outcome.model_copy(update={"data": data})))


def test_the_page_forbids_everything_it_does_not_need() -> None:
    found = Page(page.render(sample.classification()))
    policy = next(attributes["content"] for tag, attributes in found.elements
                  if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "script-src" not in policy


def test_the_style_sheet_loads_nothing() -> None:
    style = (Path(page.__file__).parent / "templates" / "page.css").read_text()
    assert not re.search(r"url\(|@import|@font-face|https?:", style)
    assert style.count("{") == style.count("}")


def test_attacks_are_shown_as_text() -> None:
    found = assert_sound(page.render(sample.hostile()))
    for attack in sample.ATTACKS:
        assert attack in found.text
    assert "[U+202E]" in found.text
    assert "\u202e" not in found.text
    assert "[U+D800]" in found.text


def test_the_headline_says_what_to_use_and_what_it_is_worth() -> None:
    text = " ".join(Page(page.render(sample.classification())).text.split())
    assert ("Use LoRA on SmolLM2-135M: accuracy 73.0% (95% interval 68.4 to 77.1) on 400 test rows, against 61.0% "
            "(56.1 to 65.7) for the best control; it forgot some of what it knew (+0.021 in general-text loss, nats a "
            "token); the whole run took 3 min 41 s of the 4 min allowed.") in text
    assert "Of 100 rows like these, about 73 come out right; the model as it came gets about 58." in text
    assert "The two intervals do not overlap" in text


def test_warnings_come_before_the_scores() -> None:
    text = Page(page.render(sample.classification())).text
    places = [text.index(part) for part in ("1 warning", "are also in the training rows", "Each line is")]
    assert places == sorted(places)
    assert "warning" not in page.render(sample.generation()).split("</style>")[1]


def test_how_a_training_was_computed_is_said_beside_its_loss() -> None:
    text = " ".join(Page(page.render(sample.classification())).text.split())
    assert "at step 48. Computed on the fast path, with native kernels." in text


def test_skipped_rungs_are_shown_with_their_reason() -> None:
    text = Page(page.render(sample.classification())).text
    assert "Full tuning of SmolLM2-135M" in text
    assert "Not run: needs about 6 min, and 38 s of the time budget are left" in text


def test_without_test_rows_the_page_says_so() -> None:
    assert "There were no test rows." in Page(page.render(sample.bare())).text
    outcome = sample.classification()
    validated = outcome.model_copy(update={"rungs": tuple(r.model_copy(update={"test": ()}) for r in outcome.rungs)})
    text = " ".join(Page(page.render(validated)).text.split())
    assert "accuracy 76.6% (95% interval 64.9 to 85.3) on 64 validation rows" in text
    assert "so it flatters" in text


def test_trained_tokens_are_marked_for_eyes_and_ears() -> None:
    html = page.render(sample.generation())
    assert '<mark><span class="off">[trained: </span><span>6</span><span>5</span><span>&lt;end&gt;</span>' in html
    assert "<span>·is</span>" in html


def test_a_matrix_for_few_labels_and_pairs_for_many() -> None:
    few, many = sample.many_classes(), sample.hostile()
    assert 'aria-label="Confusion matrix"' in page.render(few)
    html = page.render(many)
    assert 'aria-label="Confusion matrix"' not in html
    assert 'aria-label="Most frequent confusions"' in html


def test_the_most_frequent_confusion_comes_first() -> None:
    outcome = sample.many_classes()
    wrong = [list(row) for row in outcome.confusion]
    wrong[3][7] = 30
    pairs = page._pairs(outcome.model_copy(update={"confusion": tuple(map(tuple, wrong))}))
    assert pairs[0][:3] == (outcome.labels[3], outcome.labels[7], 30)


def test_rows_that_changed_come_first_and_long_texts_are_clipped() -> None:
    shown = page._samples(sample.classification())
    assert [entry.before != entry.after for entry, _ in shown] == [True, True, False]
    (_, texts), *_ = page._samples(sample.hostile())
    assert len(texts["after"].head) == 300
    assert texts["after"].left_out + len(texts["after"].whole) == 10_000


def test_parts_fill_the_time_of_the_run() -> None:
    outcome = sample.classification()
    chart = parts_chart(outcome.parts, outcome.bill)
    assert chart is not None
    assert chart.rows[-1] == ("everything else", "6.2 s · 2.8%")
    assert [name for name, _ in chart.rows[:2]] == ["reading and checking the data", "untouched model"]


def test_a_spent_budget_says_over() -> None:
    chart = page._limits_chart(sample.hostile())
    assert chart is not None
    assert chart.rows == (("Time", "1 min 10 s of 1 min · over"),)


def test_what_was_foreseen_stands_beside_what_was_spent() -> None:
    chart = page._limits_chart(sample.classification())
    assert chart is not None
    assert chart.rows == (("Time", "3 min 41 s of 4 min"), ("Time, foreseen", "3 min 35 s"),
                          ("Memory", "2.1 GiB of 4.0 GiB"), ("Memory, foreseen", "2.0 GiB"))
    text = " ".join(Page(page.render(sample.classification())).text.split())
    assert "LoRA on SmolLM2-135M 1 min 58 s 2 min 8 s 2.0 GiB 2.1 GiB" in text
    assert "zero-shot 24 s 21 s not measured 1.2 GiB" in text
    assert "foreseen" not in Page(page.render(sample.generation())).text


def test_without_a_limit_what_was_foreseen_is_the_measure() -> None:
    outcome = sample.classification().model_copy(update={"budget": {}})
    chart = page._limits_chart(outcome)
    assert chart is not None
    assert chart.title == "Spent, beside what was foreseen"
    assert chart.rows[:2] == (("Time", "3 min 41 s"), ("Time, foreseen", "3 min 35 s"))
    assert page._limits_chart(outcome.model_copy(update={"foreseen": None})) is None


def test_many_labels_are_counted_even_if_not_drawn() -> None:
    chart = page._label_chart(sample.hostile())
    assert chart is not None
    assert "138 more labels with 2 to 139 rows are not drawn" in chart.title
    assert len(chart.rows) == 150


@pytest.mark.parametrize("broken", [
    {"winner": "nobody"}, {"rungs": sample.classification().rungs * 2}, {"confusion": ((1, 2),)},
    {"data": sample.classification().data.model_copy(update={"inspected": (
        sample.ROW.model_copy(update={"trained": (True,)}),)})},
])
def test_a_record_that_contradicts_itself_is_refused(broken: dict) -> None:
    with pytest.raises(DataError):
        page.render(sample.classification().model_copy(update=broken))


def test_write_leaves_a_file_or_an_error(tmp_path: Path) -> None:
    page.write(sample.bare(), tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError):
        page.write(sample.bare(), tmp_path / "file" / "report.html")


def test_an_outcome_read_back_makes_the_same_page(tmp_path: Path) -> None:
    outcome = sample.classification()
    outcome.save(tmp_path / "scores.json")
    assert page.render(Outcome.load(tmp_path / "scores.json")) == page.render(outcome)
