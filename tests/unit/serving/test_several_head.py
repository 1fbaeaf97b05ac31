"""Logistic regression of each of several labels: the fit, the strength, and the threshold."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from scrimp.core.errors import DataError
from scrimp.serving.heads import LabelsHead
from scrimp.serving.hosting import gather
from scrimp.serving.http.shapes import Classification
from scrimp.serving.predictors import WordCounts
from scrimp.tuning.heads import several


def rows(count, wide=8, labels=3, level=-1.0, sharp=6.0, seed=0):
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(count, wide)) / np.sqrt(wide)
    values = sharp * features @ drawn.normal(size=(wide, labels)) + level
    return features, (values + drawn.logistic(size=values.shape) > 0).astype(float)


@pytest.mark.parametrize(("form", "wide"), [(np.asarray, 8), (np.asarray, 90), (csr_matrix, 8), (csr_matrix, 90)])
def test_each_label_is_the_logistic_regression_of_its_strength(form, wide):
    features, wanted = rows(60, wide)
    found = several.fitted(form(features), wanted, seed=0)
    for label in range(3):
        sure = LogisticRegression(C=found.strength, max_iter=5000, tol=1e-8).fit(features, wanted[:, label])
        assert found.weight[label] == pytest.approx(sure.coef_[0], abs=0.02)
        assert found.bias[label] == pytest.approx(sure.intercept_[0], abs=0.02)


def test_labels_are_fitted_in_parts_as_they_are_together(monkeypatch):
    features, wanted = rows(60, labels=5)
    together = several.fitted(features, wanted, seed=0)
    monkeypatch.setattr(several, "_MOST_AT_ONCE", 20)
    parts = several.fitted(features, wanted, seed=0)
    assert parts.strength == together.strength
    assert parts.weight == pytest.approx(together.weight, abs=0.02)


def test_many_rows_are_fitted_whole_with_what_some_say(monkeypatch):
    monkeypatch.setattr(several, "_MOST_FOR_CHOICE", 40)
    features, wanted = rows(200)
    found = several.fitted(features, wanted, seed=0)
    sure = LogisticRegression(C=found.strength, max_iter=5000, tol=1e-8).fit(features, wanted[:, 0])
    assert found.weight[0] == pytest.approx(sure.coef_[0], abs=0.02)


def test_the_strength_is_large_where_there_is_much_to_learn_and_small_where_there_is_nothing():
    features, clear = rows(200, sharp=40.0, level=0.0)
    noise = (np.random.default_rng(5).random((200, 3)) < 0.4).astype(float)
    assert several.fitted(features, noise, seed=0).strength == 1.0
    assert several.fitted(features, clear, seed=0).strength > 10


def test_the_threshold_is_the_best_for_micro_f1():
    drawn = np.random.default_rng(1)
    shares = drawn.random((50, 4)).round(2)  # many are alike
    wanted = (drawn.random((50, 4)) < 0.4 * shares).astype(float)

    def value(threshold):
        return f1_score(wanted.ravel(), shares.ravel() >= threshold)

    found = several.best_threshold(shares, wanted)
    assert value(found) == pytest.approx(max(value(one) for one in np.arange(0.005, 1, 0.01)))
    assert several.best_threshold(np.array([[0.9, 0.6, 0.2]]), np.array([[1.0, 1.0, 0.0]])) == pytest.approx(0.4)


def test_rare_labels_are_said_before_they_are_likelier_than_not():
    features, wanted = rows(300, level=-5.0)
    head = LabelsHead.fit(features, [[str(i) for i in np.flatnonzero(one)] for one in wanted], seed=0)
    fresh, true = rows(2000, level=-5.0)
    assert head.threshold < 0.45
    shares = np.array([[*one["scores"].values()] for one in head.predictions(fresh[300:])])
    said, half = (f1_score(true[300:].ravel(), shares.ravel() >= one) for one in (head.threshold, 0.5))
    assert said > half


def test_the_folds_deal_out_rare_labels():
    wanted = np.zeros((50, 2))
    wanted[::2, 0] = 1.0
    wanted[[3, 5, 8, 13, 21], 1] = 1.0
    fold = several._folds(wanted)
    assert sorted(fold[wanted[:, 1] > 0].tolist()) == [0, 1, 2, 3, 4]
    assert np.bincount(fold).tolist() == [10] * 5


def test_several_labels_are_served(tmp_path):
    texts = ["a match and a vote", "a match", "a vote", "nothing"] * 5
    sets = [["politics", "sport"], ["sport"], ["politics"], []] * 5
    WordCounts.fit(texts, sets, head=LabelsHead).save(tmp_path / "topics")
    served = gather(tmp_path)["topics"]
    found = served.classify(["vote and match", "the match"])
    assert [one["labels"] for one in found] == [["politics", "sport"], ["sport"]]
    told = Classification(model="topics", data=[{"index": i, **one} for i, one in enumerate(found)])
    assert told.model_dump()["data"][1] == {"index": 1, **found[1]}


def test_labels_that_all_rows_have_and_rows_without_any_are_learned():
    features, _ = rows(20)
    head = LabelsHead.fit(features, [["all"], ["all", "some"]] * 10, seed=0)
    assert head.labels == ("all", "some")
    assert all("all" in one["labels"] for one in head.predictions(features))
    assert LabelsHead.fit(np.zeros((6, 4)), [[], ["a"], ["a"]] * 2, seed=0).predictions(np.zeros((1, 4)))[0][
        "scores"]["a"] == pytest.approx(2 / 3, abs=0.01)
    assert np.isfinite(LabelsHead.fit(features[:2], [["a"], []], seed=0).weight).all()
    with pytest.raises(DataError, match="no label to learn"):
        LabelsHead.fit(features, [[]] * 20, seed=0)
