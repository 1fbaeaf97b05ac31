from types import SimpleNamespace

import numpy as np
import pytest

from scrimp.planning.blending import _crossed, _kept, as_good


def sure(truth, right, classes=2):
    """Log-probabilities [N, C] of one who is nearly sure of the truth where ``right``, and else of another label."""
    said = np.where(right, truth, (truth + 1) % classes)
    shares = np.full((len(truth), classes), 0.1 / (classes - 1))
    shares[np.arange(len(truth)), said] = 0.9
    return np.log(shares)


def test_a_row_is_judged_by_weights_that_do_not_know_it():
    """With a label turned round, what is said of its own fold stays, and what is said of the others changes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=40)
    logs = np.stack([sure(truth, rng.random(40) < share) for share in (0.9, 0.6)])
    turned = truth.copy()
    turned[3] = 1 - turned[3]
    before, after = _crossed(logs, truth), _crossed(logs, turned)
    own = np.arange(40) % 5 == 3
    assert np.allclose(before[own], after[own], atol=1e-6)
    assert np.abs(before[~own] - after[~own]).max() > 1e-3


def test_few_rows_keep_every_member():
    truth = np.arange(8) % 2
    assert _kept(np.stack([sure(truth, truth == truth), sure(truth, truth < 0)]), truth) == [0, 1]


def test_many_rows_leave_out_whom_they_speak_against():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=400)
    helps, harms = sure(truth, rng.random(400) < 0.9), sure(truth, rng.random(400) < 0.1)
    assert _kept(np.stack([harms, helps]), truth) == [1]


def test_whoever_knows_what_the_other_does_not_stays():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=400)
    assert _kept(np.stack([sure(truth, rng.random(400) < 0.8), sure(truth, rng.random(400) < 0.75)]), truth) == [0, 1]


@pytest.mark.parametrize(("metric", "wrong", "field"), [("accuracy", "b", "label"), ("rmse", 9.0, "score")])
@pytest.mark.parametrize(("lost", "won", "good"), [(0, 0, True), (2, 1, True), (1, 9, True), (9, 1, False)])
def test_a_blend_is_as_good_unless_it_loses_more_than_chance(metric, wrong, field, lost, won, good):
    """Of 40 rows the blend is wrong where the single way is right, and the other way round."""
    right = "a" if field == "label" else 1.0
    rows = [{field: right}] * 40

    def said(bad):
        return SimpleNamespace(judged=[{field: wrong if at in bad else right} for at in range(40)])

    single, blend = said(range(won)), said(range(won, won + lost))
    assert as_good(single, blend, SimpleNamespace(metric=metric, judged_rows=rows)) is good
