import json

import numpy as np
import pytest

from scrimp.core.errors import ModelError
from scrimp.serving.base import MANIFEST, as_scores
from scrimp.serving.blend import Blend, fitted_weights, log_probabilities, pooled
from scrimp.serving.predictors import WordCounts, load_predictor

TEXTS = ["a good film", "good and kind", "so good", "a bad film", "bad and cruel", "so bad"]
LABELS = ["up", "up", "up", "down", "down", "down"]


def counts(texts=TEXTS, labels=LABELS):
    return WordCounts.fit(texts, labels)


def opinions(rng, truth, strength, classes=3):
    """Log-probabilities [N, C] that lean to the truth by so much."""
    logs = rng.normal(size=(len(truth), classes))
    logs[np.arange(len(truth)), truth] += strength
    return logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))


def test_many_rows_tell_the_one_who_knows_from_the_one_who_does_not():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=2000)
    knows, guesses = fitted_weights(np.stack([opinions(rng, truth, 3.0), opinions(rng, truth, 0.0)]), truth)
    assert knows > 8 * guesses


def test_few_rows_leave_the_weights_nearly_equal():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=6)
    knows, guesses = fitted_weights(np.stack([opinions(rng, truth, 3.0), opinions(rng, truth, 0.0)]), truth)
    assert 1 < knows / guesses < 4


@pytest.mark.parametrize(("sureness", "low", "high"), [(4.0, 0.2, 0.3), (0.5, 1.7, 2.3)])
def test_one_member_is_given_its_temperature(sureness, low, high):
    """Whoever is so many times too sure is told so many times less."""
    rng = np.random.default_rng(0)
    logs = opinions(rng, np.zeros(4000, dtype=int), 0.0)
    shares = np.exp(logs)
    truth = np.array([rng.choice(3, p=row / row.sum()) for row in shares])
    assert low < fitted_weights(sureness * logs[None], truth)[0] < high


def test_the_sum_is_of_logarithms():
    first, second = as_scores(np.log([[0.8, 0.2]]), "ab"), as_scores(np.log([[0.5, 0.5]]), "ab")
    (said,) = pooled([first, second], [2.0, 1.0], ["a", "b"])
    assert said["label"] == "a"
    assert said["scores"]["a"] == pytest.approx(0.8**2 * 0.5 / (0.8**2 * 0.5 + 0.2**2 * 0.5))


def test_a_label_that_a_member_does_not_know_is_all_but_impossible():
    logs = log_probabilities([{"label": "a", "scores": {"a": 1.0}}], ["a", "b"])
    assert logs[0, 0] == 0 and logs[0, 1] == pytest.approx(np.log(1e-6))


def test_what_was_saved_says_the_same(tmp_path):
    blend = Blend([counts(), counts([*TEXTS, "good grief"], [*LABELS, "down"])], [0.7, 1.2])
    blend.save(tmp_path / "blend")
    rows = [{"text": text} for text in ("good", "bad", "good or bad", "neither")]
    assert [row["scores"] for row in load_predictor(tmp_path / "blend").predict(rows)] == [
        pytest.approx(row["scores"], abs=1e-6) for row in blend.predict(rows)]


@pytest.fixture
def saved(tmp_path):
    Blend([counts(), counts()], [0.5, 0.5]).save(tmp_path / "blend")
    return tmp_path / "blend"


@pytest.mark.parametrize("settings", [{}, {"member-0": 0.5}, {"member-0": 0.5, "../../elsewhere": 0.5},
                                      {"member-0": 0.5, "member-1": -1.0}, {"member-0": 0.5, "member-1": "much"}])
def test_a_damaged_list_of_members_is_refused(saved, settings):
    told = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps({**told, "settings": settings}))
    if settings == {"member-0": 0.5}:
        assert len(load_predictor(saved)._members) == 1
    else:
        with pytest.raises(ModelError):
            load_predictor(saved)


def test_a_blend_has_no_blend_for_a_member(saved):
    Blend([counts()], [1.0]).save(saved / "other")
    (saved / "member-1").rename(saved / "gone")
    (saved / "other").rename(saved / "member-1")
    with pytest.raises(ModelError, match="no kind of predictor 'blend'"):
        load_predictor(saved)


def test_members_choose_from_the_same_labels():
    with pytest.raises(ModelError, match="other labels"):
        Blend([counts(), counts(TEXTS, ["left"] * 3 + ["right"] * 3)], [0.5, 0.5])
