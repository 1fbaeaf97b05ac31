"""Labels that are put right by few clean ones: the gradient through the student's step, and what comes of it."""

import numpy as np
import pytest
from scipy.special import softmax

from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.data.selection.metacorrection import MetaCorrection, Teacher, meta_correct
from scrimp.examples.formats import read

CLASSES, RATE = 4, 0.7


def numeric(function, weights):
    found = np.zeros_like(weights)
    for place in np.ndindex(weights.shape):
        sides = []
        for way in (1, -1):
            moved = weights.copy()
            moved[place] += way * 1e-6
            sides.append(function(moved))
        found[place] = (sides[0] - sides[1]) / 2e-6
    return found


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    own, keeps, student = (rng.normal(size=(3, CLASSES)) for _ in range(3))
    x, clean_x = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    return own, keeps, student, x, rng.integers(CLASSES, size=7), clean_x, rng.integers(CLASSES, size=5)


def test_the_gradient_through_the_step_is_exact(drawn):
    own, keeps, student, x, given, clean_x, clean_y = drawn

    def stepped(teacher):
        return student - RATE * x.T @ (softmax(x @ student, axis=1) - teacher.correct(x, given)) / len(x)

    def loss(teacher):
        said = softmax(clean_x @ stepped(teacher), axis=1)
        return -np.log(said[np.arange(len(clean_y)), clean_y]).mean()

    said = softmax(clean_x @ stepped(Teacher(own, keeps)), axis=1)
    upward = clean_x.T @ (said - np.eye(CLASSES)[clean_y]) / len(clean_x)
    found = Teacher(own, keeps).gradients(x, given, RATE / len(x) * (x @ upward))
    assert found[0] == pytest.approx(numeric(lambda w: loss(Teacher(w, keeps)), own), abs=1e-8)
    assert found[1] == pytest.approx(numeric(lambda w: loss(Teacher(own, w)), keeps), abs=1e-8)


def test_the_gradients_of_what_the_teacher_learns_itself(drawn):
    own, keeps, _, x, right, _, _ = drawn
    chance = (right + 1) % CLASSES

    def keeping(weights):
        logits = x @ weights
        return sum(np.log1p(np.exp(-sign * logits[np.arange(len(x)), labels])).sum()
                   for labels, sign in ((right, 1), (chance, -1))) / (2 * len(x))

    def answering(weights):
        return -np.log(softmax(x @ weights, axis=1)[np.arange(len(x)), right]).mean()

    found = Teacher(own, keeps).supervised(x, right, chance)
    assert found[0] == pytest.approx(numeric(answering, own), abs=1e-8)
    assert found[1] == pytest.approx(numeric(keeping, keeps), abs=1e-8)


def blobs(count, wrong, seed=0):
    """Three clouds on a circle, with a share of the labels another one's."""
    rng = np.random.default_rng(seed)
    right = rng.integers(3, size=count)
    angle = right * 2 * np.pi / 3 + rng.normal(size=count) * 0.3
    given = np.where(rng.random(count) < wrong, (right + 1) % 3, right)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), right, given


def test_labels_that_most_rows_bear_wrongly_are_put_right_by_few_clean_ones():
    x, right, given = blobs(300, 0.6)
    clean_x, clean_y, _ = blobs(12, 0, seed=1)
    found = MetaCorrection().correct(x, given, clean_x, clean_y, 3)
    assert (given == right).mean() < 0.5
    assert (found.corrected.argmax(axis=1) == right).mean() > 0.9
    assert (found.predict(x) == right).mean() > 0.9
    assert found.corrected.sum(axis=1) == pytest.approx(np.ones(300))


def test_the_same_seed_corrects_alike():
    x, _, given = blobs(60, 0.4)
    clean_x, clean_y, _ = blobs(9, 0, seed=1)
    asked = {"steps": 20, "batch": 16, "rate": 1.0, "teacher_rate": 0.1}
    runs = [meta_correct(x, given, clean_x, clean_y, 3, seed=seed, **asked).corrected for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_rows_with_right_labels_are_chosen_by_a_target_of_such():
    x, right, given = blobs(90, 0.4)
    clean_x, clean_y, _ = blobs(12, 0, seed=1)
    vectors = {f"{name} {i}": row for name, part in (("pool", x), ("clean", clean_x)) for i, row in enumerate(part)}

    class Known:
        def embeddings(self, rows):
            return np.stack([vectors[row["text"]] for row in rows])

    pool, target = (read([{"text": f"{name} {i}", "label": "abc"[label]} for i, label in enumerate(labels)])
                    for name, labels in (("pool", given), ("clean", clean_y)))
    kept = build("selection", "emlc").select(pool, 40, signals=Known(), target=target).indices
    assert (given == right)[kept].mean() > 0.95 > (given == right).mean() + 0.3
    with pytest.raises(OptionError, match="toward a target"):
        build("selection", "emlc").select(pool, 40, signals=Known())
    with pytest.raises(OptionError, match="wrong labels"):
        build("selection", "emlc").select(pool, 40, signals=Known(), target=read([{"text": "clean 1"}]))
