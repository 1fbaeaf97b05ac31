"""Active learning: strategies against brute force, balance, and the bandit between strategies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.data.selection import StrategyBandit
from scrimp.data.selection.acquisition import View, balanced, ranked, spread, uncertainty
from scrimp.examples.formats import read


class Planted:
    """Signals of rows that say where they are."""

    def embeddings(self, rows):
        return np.array([[float(n) for n in row["text"].split()] for row in rows], dtype=np.float32)


def points(angles, labels=None):
    turned = np.deg2rad(np.asarray(angles, dtype=float))
    rows = [{"text": f"{np.cos(a):.6f} {np.sin(a):.6f}"} for a in turned]
    return read([{**row, "label": label} for row, label in zip(rows, labels, strict=True)] if labels else rows)


def test_the_least_sure_lie_between_the_classes_and_labels_of_the_pool_are_not_read():
    labelled = points([0, 5, 90, 85], list("aabb"))
    pool = points([1, 45, 89, 44, 2])
    for name in ("acquire-margin", "acquire-entropy"):
        kept = build("selection", name).select(pool, 2, signals=Planted(), target=labelled).indices
        assert sorted(kept.tolist()) == [1, 3]
    told = points([1, 45, 89, 44, 2], list("bbaab"))
    assert build("selection", "acquire-margin").select(told, 2, signals=Planted(), target=labelled).indices.tolist() \
        == build("selection", "acquire-margin").select(pool, 2, signals=Planted(), target=labelled).indices.tolist()


def test_one_labelled_class_or_none_at_all():
    pool = points([1, 45, 89])
    for name in ("acquire-margin", "acquire-entropy", "badge", "pcb-badge", "tailor"):
        found = build("selection", name).select(pool, 2, signals=Planted(), target=points([0, 9], list("aa")))
        found.checked(pool, 2, by=name)
    with pytest.raises(OptionError, match="labels"):
        build("selection", "badge").select(pool, 2, signals=Planted(), target=points([0, 9]))


def test_what_is_unsure_is_told_by_hand():
    chances = np.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]])
    np.testing.assert_allclose(uncertainty("margin", chances), [0.0, -0.1, -0.85])
    np.testing.assert_allclose(uncertainty("confidence", chances), [-0.5, -0.4, -0.9])
    np.testing.assert_allclose(uncertainty("entropy", chances), [0.6931, 1.0889, 0.3944], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_what_is_spread_is_farthest_from_all_that_is_known(seed, keep):
    rng = np.random.default_rng(seed)
    rows, known = rng.normal(size=(8, 3)), rng.normal(size=(2, 3))
    near, expected = list(known), []
    for _ in range(keep):
        away = [-1 if i in expected else min(np.square(rows[i] - one).sum() for one in near) for i in range(8)]
        expected.append(int(np.argmax(away)))
        near.append(rows[expected[-1]])
    assert spread((rows,), keep, known=known).tolist() == expected


def test_factors_stand_for_their_outer_product_and_draws_go_by_squared_distance():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(5, 2)), rng.normal(size=(5, 3))
    outer = np.einsum("ni,nj->nij", left, right).reshape(5, 6)
    assert spread((left, right), 5).tolist() == spread((outer,), 5).tolist()
    first = int(np.linalg.norm(outer, axis=1).argmax())
    away = np.square(outer - outer[first]).sum(axis=1)
    drawn = [spread((left, right), 2, rng=np.random.default_rng(seed)) for seed in range(2000)]
    assert {kept[0] for kept in drawn} == {first}
    np.testing.assert_allclose(np.bincount([kept[1] for kept in drawn], minlength=5) / 2000, away / away.sum(),
                               atol=0.04)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=4, max_size=4),
       st.data())
def test_balance_takes_the_rarest_class_that_is_left_and_of_it_the_first(classes, counts, data):
    keep = data.draw(st.integers(0, len(classes)))
    kept = balanced(np.array(classes), np.array(counts), keep)
    so_far, left = list(counts), list(range(len(classes)))
    for place in kept.tolist():
        assert so_far[classes[place]] == min(so_far[classes[i]] for i in left)
        assert place == min(i for i in left if classes[i] == classes[place])
        so_far[classes[place]] += 1
        left.remove(place)
    assert len(kept) == keep


def test_balance_keeps_a_rare_class_that_the_strategy_passes_over():
    labelled = points([0, 0, 10, 90], list("aaab"))
    pool = points([30, 32, 34, 36, 38, 40, 80, 82])
    plain = build("selection", "acquire-margin").select(pool, 4, signals=Planted(), target=labelled)
    even = build("selection", "acquire-margin", {"balance": True, "proposed": 1.0}).select(
        pool, 4, signals=Planted(), target=labelled)
    chances = View.of(pool, labelled, Planted(), 0).predicted
    assert abs(int((chances[even.indices] == 1).sum()) - 3) <= 1
    assert (chances[even.indices] == 1).sum() > (chances[plain.indices] == 1).sum()


def test_the_bandit_learns_who_finds_the_rare_class():
    rng, bandit, counts = np.random.default_rng(0), StrategyBandit(3, 2), np.array([50, 2])
    rare = (0.02, 0.5, 0.1)
    for _ in range(200):
        arm = bandit.draw(counts, rng)
        bandit.learn([arm], [int(rng.random() < rare[arm])])
    assert bandit.drawn.argmax() == 1
    assert bandit.drawn[1] > 120
    assert bandit.found.sum() == 200


def test_where_no_class_is_rare_the_bandit_has_no_favourite():
    rng, bandit = np.random.default_rng(0), StrategyBandit(2, 2)
    for _ in range(400):
        arm = bandit.draw(np.array([10, 10]), rng)  # each row is of one class, so each pays the same
        bandit.learn([arm], [arm])
    assert abs(int(bandit.drawn[0]) - 200) < 60


def test_what_was_found_long_ago_counts_less():
    bandit = StrategyBandit(2, 2, discount=0.5)
    bandit.learn([0, 0], [1, 1])
    bandit.learn([1], [0])
    assert bandit.found.tolist() == [[0, 1], [1, 0]]


def test_chance_is_a_strategy_too():
    view = View(np.eye(6), np.ones((6, 1)), np.eye(6)[:1], np.array([1]))
    drawn = [ranked("random", view, 2, np.random.default_rng(seed)) for seed in range(300)]
    assert (np.bincount(np.concatenate(drawn), minlength=6) > 60).all()
