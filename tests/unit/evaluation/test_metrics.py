"""Metrics against their libraries, their intervals, and evaluation as a whole."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, r2_score
from sklearn.preprocessing import MultiLabelBinarizer

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build, presets
from scrimp.evaluation.metrics import metrics_for
from scrimp.evaluation.tasks import confusion, evaluate, score
from scrimp.examples.records import Examples, Layout
from scrimp.serving.predictors import WordCounts

LABEL = st.sampled_from(["a", "b", "c", "d e"])


def said(label, confidence=0.7):
    return {"label": label, "scores": {label: confidence}}


def rows_of(labels):
    return [{"text": "t", "label": label} for label in labels]


def examples(rows, layout):
    return Examples(tuple(rows), layout, tuple(f"r:{n}" for n in range(len(rows))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=30))
def test_label_metrics_are_scikit_learns(pairs):
    true, predicted = zip(*pairs, strict=True)
    predictions, rows = [said(p) for p in predicted], rows_of(true)
    for name, expected in (("accuracy", accuracy_score(true, predicted)),
                           ("macro-f1", f1_score(true, predicted, average="macro"))):
        found = build("metric", name).measure(predictions, rows)
        assert found.value == pytest.approx(expected)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high > found.low
        assert found.n == len(pairs)
        assert found.metric == name


NAMES = ("a", "b", "c", "d e")


def sets_of(predicted, true):
    known = dict.fromkeys(NAMES, 0.5)
    return ([{"labels": [*labels], "scores": known} for labels in predicted],
            [{"text": "t", "labels": [*labels]} for labels in true])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sets(LABEL), st.sets(LABEL)), min_size=1, max_size=30))
def test_metrics_of_several_labels_are_scikit_learns(pairs):
    true, predicted = zip(*pairs, strict=True)
    given_ = sets_of(predicted, true)
    binary = MultiLabelBinarizer(classes=NAMES).fit(NAMES)
    wanted, told = binary.transform(true), binary.transform(predicted)
    occurring = [label for label in range(4) if (wanted | told)[:, label].any()]
    expected = {"micro-f1": f1_score(wanted, told, average="micro", zero_division=1.0),
                "macro-f1": np.mean([f1_score(wanted[:, k], told[:, k]) for k in occurring]) if occurring else 1.0,
                "subset-accuracy": accuracy_score(wanted, told), "hamming-loss": hamming_loss(wanted, told)}
    assert tuple(expected) == metrics_for(Layout.LABELS)
    for name, value in expected.items():
        found = build("metric", name).measure(*given_)
        assert found.value == pytest.approx(value)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high > found.low
        assert found.higher_is_better is (name != "hamming-loss")


def test_two_ways_to_say_several_labels_are_compared_though_one_says_fewer():
    true = [{"a"}, {"a", "b"}, {"c"}, set()] * 5
    all_, none = sets_of(true, true)[0], sets_of([set()] * 20, true)[0]
    rows = sets_of(true, true)[1]
    for name in ("micro-f1", "macro-f1"):
        found = build("metric", name).compare(none, all_, rows)
        assert found.value == pytest.approx(1.0)
        assert build("metric", name).expected([none, all_], rows, 1).value == pytest.approx(1.0)


def test_metrics_of_several_labels_need_them():
    with pytest.raises(DataError, match="subset-accuracy needs 'labels'"):
        build("metric", "subset-accuracy").measure([said("a")], rows_of(["a"]))
    assert build("metric", "micro-f1").measure([said("a"), said("b")], rows_of(["a", "a"])).value == 0.5


def test_calibration_error_of_known_bins():
    rows = rows_of(["a"] * 100)
    sure_and_right_half_the_time = [said("a" if i % 2 else "b", 0.9) for i in range(100)]
    found = build("metric", "calibration-error", {"bins": 1}).measure(sure_and_right_half_the_time, rows)
    assert found.value == pytest.approx(0.4)
    assert not found.higher_is_better
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=2000)
    honest = [said("a" if rng.random() < c else "b", c) for c in confidence]
    assert build("metric", "calibration-error").measure(honest, rows_of(["a"] * 2000)).value < 0.05


def scores(said_, wanted):
    return [{"score": one} for one in said_], [{"text": "t", "score": one} for one in wanted]


def test_metrics_of_scores_by_hand():
    given = scores([1.0, 2.0, 6.0, 5.0], [2.0, 2.0, 3.0, 9.0])  # off by 1, 0, 3, 4; 2, 2, 1, 5 away from their mean
    found = {name: build("metric", name).measure(*given) for name in metrics_for(Layout.SCORE)}
    assert list(found) == ["rmse", "mae", "r2", "spearman"]
    assert found["rmse"].value == pytest.approx(math.sqrt(26 / 4))
    assert found["mae"].value == pytest.approx(2.0)
    assert found["r2"].value == pytest.approx(1 - 26 / 34)
    assert found["spearman"].value == pytest.approx(3.5 / math.sqrt(5 * 4.5))  # ranks 1 2 4 3 and 1.5 1.5 3 4
    assert [one.higher_is_better for one in found.values()] == [False, False, True, True]
    for one in found.values():
        assert one.low <= one.value <= one.high


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=20),
       st.sampled_from([0.0, 1e7]))
def test_metrics_of_scores_are_the_libraries(pairs, offset):
    said_, wanted = (np.array(side) + offset for side in zip(*pairs, strict=True))
    given = scores(said_.tolist(), wanted.tolist())
    assert build("metric", "r2").measure(*given).value == pytest.approx(r2_score(wanted, said_), abs=1e-6)
    if len(set(said_)) > 1 and len(set(wanted)) > 1:
        assert build("metric", "spearman").measure(*given).value == pytest.approx(
            spearmanr(said_, wanted).statistic, abs=1e-9)
    else:
        assert build("metric", "spearman").measure(*given).value == 0


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "spearman"])
def test_one_scored_row_says_nothing_of_others_and_still_has_a_number(name):
    metric = build("metric", name)
    found = metric.measure(*scores([1.0], [4.0]))
    assert math.isfinite(found.value)
    assert found.high - found.low > 0.5
    assert found.low <= found.value <= found.high
    assert name == "r2" or found.high < 100


def test_scores_are_compared_row_by_row_and_what_was_chosen_is_expected_to_do_worse():
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=60)
    good, *others = (scores(wanted + noise * rng.normal(size=60), wanted)[0] for noise in (0.3, 1.0, 1.0))
    rows = scores(wanted, wanted)[1]
    metric = build("metric", "rmse")
    gained = metric.compare(others[0], good, rows)
    assert gained.low < gained.value < gained.high < 0
    alike = [scores(wanted + rng.normal(size=60), wanted)[0] for _ in range(6)]
    best = min(range(6), key=lambda i: metric.measure(alike[i], rows).value)
    assert metric.expected(alike, rows, best).value > metric.measure(alike[best], rows).value


def test_scores_are_not_measured_by_what_counts_labels():
    with pytest.raises(DataError, match="accuracy needs 'label'"):
        build("metric", "accuracy").measure(*scores([1.0], [2.0]))


def test_exact_match_looks_past_spaces_and_if_asked_past_case():
    rows = [{"prompt": "p", "completion": c} for c in ("Yes ", "no", "3")]
    predictions = [{"text": t} for t in ("Yes", "No", "4")]
    assert build("metric", "exact-match").measure(predictions, rows).value == pytest.approx(1 / 3)
    lenient = build("metric", "exact-match", {"ignore_case": True})
    assert lenient.measure(predictions, rows).value == pytest.approx(2 / 3)


def test_text_metrics_are_their_libraries():
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    pairs = [("the cat sat on the mat", "the cat lay on a mat"), ("déjà vu", "déjà lu"), ("", "word")]
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": c}]} for _, c in pairs]
    predictions = [{"text": t} for t, _ in pairs]
    rouge = RougeScorer(["rougeL"], use_stemmer=False)
    expected = {"chrf": [CHRF().sentence_score(t, [c]).score for t, c in pairs],
                "rouge-l": [rouge.score(c, t)["rougeL"].fmeasure for t, c in pairs]}
    for name, values in expected.items():
        assert build("metric", name).measure(predictions, rows).value == pytest.approx(np.mean(values))
        np.testing.assert_allclose(build("metric", name).per_row(predictions, rows)[:, 0], values)


def test_perplexity_weighs_tokens_and_not_texts():
    predictions = [{"loss": 10.0, "tokens": 10}, {"loss": 0.0, "tokens": 30}, {"loss": 4.0, "tokens": 10}]
    found = build("metric", "perplexity").measure(predictions, [{"text": "t"}] * 3)
    assert found.value == pytest.approx(math.exp(14 / 50))
    assert 1 <= found.low < found.value < found.high
    assert math.isfinite(build("metric", "perplexity").measure(predictions[:1], [{"text": "t"}]).high)


def test_a_perfect_score_on_few_rows_is_not_certain():
    found = build("metric", "macro-f1").measure([said("a"), said("b")] * 5, rows_of(["a", "b"] * 5))
    assert found.value == 1
    assert found.low < 0.8


def test_a_paired_comparison_sees_what_two_intervals_do_not():
    rng = np.random.default_rng(0)
    true = rng.choice(["a", "b"], size=200)
    before = [said(t if rng.random() < 0.7 else "b") for t in true]
    after = [said(t) if rng.random() < 0.2 else p for t, p in zip(true, before, strict=True)]
    accuracy = build("metric", "accuracy")
    difference = accuracy.compare(before, after, rows_of(true))
    assert difference.low > 0
    first, second = (accuracy.measure(p, rows_of(true)) for p in (before, after))
    assert second.low < first.high
    assert difference.value == pytest.approx(second.value - first.value)


def test_a_label_coin_scores_as_a_coin():
    rng = np.random.default_rng(1)
    guesses = [said(str(label)) for label in rng.choice(["a", "b"], size=400)]
    found = build("metric", "accuracy").measure(guesses, rows_of(["a", "b"] * 200))
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize(("name", "predictions", "rows"), [
    ("accuracy", [], []), ("accuracy", [said("a")], []), ("accuracy", [{"text": "a"}], rows_of(["a"])),
    ("exact-match", [{"text": "a"}], [{"prompt": "p"}]), ("perplexity", [{"text": "a"}], [{"text": "b"}]),
])
def test_what_cannot_be_measured_is_refused(name, predictions, rows):
    with pytest.raises(DataError):
        build("metric", name).measure(predictions, rows)


def test_every_layouts_metrics_exist_and_a_mistyped_one_is_named():
    known = {p.name for p in presets("metric")}
    assert all(set(metrics_for(layout)) <= known for layout in Layout)
    assert metrics_for("label")[0] == "accuracy"
    with pytest.raises(OptionError, match="did you mean 'accuracy'"):
        build("metric", "acuracy")


# --- evaluation -----------------------------------------------------------------------------------------------------

TRAIN = [("good", "pos"), ("very good", "pos"), ("bad", "neg"), ("so bad", "neg")]


def test_evaluation_predicts_once_and_scores_by_all_metrics():
    predictor = WordCounts.fit(*map(list, zip(*TRAIN, strict=True)))
    rows = [("good", "pos"), ("bad", "neg"), ("good", "neg")]
    test = examples([{"text": text, "label": label} for text, label in rows], Layout.LABEL)
    found = evaluate(predictor, test)
    assert [s.metric for s in found.scores] == ["accuracy", "macro-f1", "calibration-error"]
    assert found.scores[0].value == pytest.approx(2 / 3)
    assert evaluate(predictor, test, metrics=["macro-f1"]).scores == (found.scores[1],)
    assert score(found.predictions, test) == found.scores
    assert confusion(found.predictions, test, ("neg", "pos")).tolist() == [[1, 1], [0, 1]]


def test_a_label_that_was_never_trained_counts_as_wrong_and_is_said(capsys):
    predictor = WordCounts.fit(*map(list, zip(*TRAIN, strict=True)))
    test = examples([{"text": "good", "label": "pos"}, {"text": "meh", "label": "neutral"}], Layout.LABEL)
    found = evaluate(predictor, test)
    assert found.scores[0].value == 0.5
    assert "neutral" in capsys.readouterr().err
    assert confusion(found.predictions, test, ("neg", "pos")).sum() == 1


def test_no_metric_is_refused():
    with pytest.raises(DataError, match="no metric was named"):
        score([], examples([], Layout.PREFERENCE), metrics=())


def test_a_pair_counts_where_the_chosen_answer_is_more_probable():
    said = [{"chosen": -1.0, "rejected": -2.0}, {"chosen": -2.0, "rejected": -1.0}, {"chosen": -1.0, "rejected": -1.0}]
    pairs = examples([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3, Layout.PREFERENCE)
    (found,) = score(said, pairs)
    assert (found.metric, found.value, found.n) == ("preference-accuracy", 1 / 3, 3)


def test_the_best_of_several_is_expected_to_do_as_it_will():
    """Six ways that hardly differ, judged on forty rows: the best of them looks better than it is, by chance."""
    chance, metric, rows = np.random.default_rng(0), build("metric", "accuracy"), [{"label": "a"}] * 40
    apparent, expected, held = [], [], 0
    for _ in range(200):
        true = chance.uniform(0.6, 0.7, size=6)
        ways = [[{"label": "a" if right else "b"} for right in chance.random(40) < share] for share in true]
        scores = [metric.measure(way, rows).value for way in ways]
        winner = int(np.argmax(scores))
        found = metric.expected(ways, rows, winner)
        apparent.append(scores[winner] - true[winner])
        expected.append(found.value - true[winner])
        held += found.low <= true[winner] <= found.high
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert np.mean(apparent) > 0.05
    assert abs(np.mean(expected)) < 0.02
    assert 180 <= held <= 198


def test_a_way_without_rivals_is_expected_to_do_as_it_did():
    metric, rows = build("metric", "accuracy"), [{"label": "a"}] * 50
    way = [{"label": "a"}] * 30 + [{"label": "b"}] * 20
    here, there = metric.measure(way, rows), metric.expected([way], rows, 0)
    assert there.value == pytest.approx(here.value, abs=0.01)
    assert there.high - there.low == pytest.approx(here.high - here.low)
