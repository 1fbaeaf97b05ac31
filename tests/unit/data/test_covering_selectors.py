"""Selectors that cover the pool, against brute force and what must always hold of them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.data.selection import Clusters, Determinantal, Submodular
from scrimp.data.selection.cells import Cells, cells, unit
from scrimp.data.selection.clusters import complexity, reweighted
from scrimp.data.selection.determinantal import greedy_map
from scrimp.data.selection.neighbours import nearest
from scrimp.data.selection.quotas import drawn, quotas
from scrimp.data.selection.submodular import (
    FacilityLocation,
    GraphCut,
    lazy_greedy,
    stochastic_greedy,
    taylor_softmax,
)
from scrimp.examples.formats import read


class Known:
    """Signals that are given."""

    def __init__(self, vectors):
        self._vectors = np.asarray(vectors, dtype=np.float32)

    def embeddings(self, rows):
        return self._vectors


def clustered(count, groups=20, width=32, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((groups, width)))
    noise = rng.standard_normal((count, width)) * spread / width**0.5
    return unit(centres[rng.integers(groups, size=count)] + noise)


def similarities(vectors):
    return (vectors @ vectors.T).clip(0, 1)


def covered(whole, kept):
    return float(whole[np.asarray(kept, dtype=int)].max(axis=0, initial=0).sum())


def cut(vectors, kept, redundancy):
    likeness = (1 + vectors.astype(float) @ vectors.T.astype(float)) / 2
    return likeness[:, kept].sum() - redundancy * likeness[np.ix_(kept, kept)].sum()


def plain_greedy(value, count, keep):
    kept = []
    for _ in range(keep):
        kept.append(max((row for row in range(count) if row not in kept), key=lambda row: value([*kept, row])))
    return kept


# -- greedy choice ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 0.3, 1.0]))
def test_lazy_greedy_is_plain_greedy(seed, keep, redundancy):
    vectors = clustered(12, groups=3, width=6, seed=seed)
    whole = similarities(vectors)
    kept, gains = lazy_greedy(FacilityLocation(whole), keep)
    assert covered(whole, kept) == pytest.approx(covered(whole, plain_greedy(lambda s: covered(whole, s), 12, keep)))
    assert gains.sum() == pytest.approx(covered(whole, kept), rel=1e-5)
    kept, gains = lazy_greedy(GraphCut(vectors, redundancy), keep)
    assert kept.tolist() == plain_greedy(lambda s: cut(vectors, s, redundancy), 12, keep)
    assert gains.sum() == pytest.approx(cut(vectors, kept, redundancy), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_greedy_reaches_its_share_of_the_best(seed, keep):
    whole = similarities(clustered(9, groups=3, width=4, spread=1, seed=seed))
    best = max(covered(whole, tried) for tried in itertools.combinations(range(9), keep))
    reached = covered(whole, lazy_greedy(FacilityLocation(whole), keep)[0])
    assert (1 - 1 / math.e) * best - 1e-6 <= reached <= best + 1e-6


def test_no_row_is_looked_at_twice_in_a_step_and_few_at_all():
    looked = []

    class Counted(FacilityLocation):
        def gain(self, row):
            looked.append(row)
            return super().gain(row)

    lazy_greedy(Counted(similarities(clustered(500))), 25)
    assert len(looked) < 500 * 25 / 4


def test_stochastic_greedy_is_near_with_few_looks():
    whole = similarities(clustered(600))
    best = covered(whole, lazy_greedy(FacilityLocation(whole), 30)[0])
    found = [stochastic_greedy(FacilityLocation(whole), 600, 30, np.random.default_rng(seed))[0] for seed in range(5)]
    assert all(len(set(kept.tolist())) == 30 for kept in found)
    by_chance = [covered(whole, np.random.default_rng(seed).permutation(600)[:30]) for seed in range(5)]
    assert min(covered(whole, kept) for kept in found) > 0.98 * best > max(by_chance)
    everything, _ = stochastic_greedy(FacilityLocation(whole), 600, 600, np.random.default_rng(0))
    assert sorted(everything.tolist()) == list(range(600))


# -- neighbours ------------------------------------------------------------------------------------------------------


def test_with_all_cells_looked_into_the_nearest_are_exact():
    vectors = clustered(2500, groups=40)
    found = nearest(vectors, 10, probes=99)
    exact = np.sort(similarities(vectors), axis=1)[:, -10:]
    assert np.allclose(np.sort(found.data.reshape(2500, 10), axis=1), exact, atol=2e-3)  # rows are kept in 16 bits
    pairs = similarities(vectors)[np.repeat(np.arange(2500), 10), found.indices]
    assert np.allclose(pairs, found.data, atol=2e-3)
    assert (found.diagonal() > 0.99).all()


def test_few_cells_hold_most_of_the_nearest():
    vectors = clustered(12_000, groups=200, spread=0.8)
    found = nearest(vectors, 10, probes=4)
    rows = np.arange(0, 12_000, 100)
    exact = np.argsort(-(vectors[rows] @ vectors.T), axis=1)[:, :10]
    ours = found.indices.reshape(-1, 10)[rows]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, ours, strict=True)]) > 0.7  # by chance: a third


def test_rows_may_lie_on_disk_in_sixteen_bits(tmp_path):
    vectors = clustered(2500).astype(np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    stored = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    for options in ({}, {"neighbours": 16}, {"objective": "graph-cut"}):
        chosen = Submodular.parse(options).cover(stored, 20, seed=1)
        assert chosen.tolist() == Submodular.parse(options).cover(vectors, 20, seed=1).tolist()


@pytest.mark.parametrize("keep", [30, 300])
def test_the_graph_of_neighbours_covers_nearly_as_well(keep):
    vectors = clustered(3000, groups=60, spread=1)
    whole = similarities(vectors)
    dense = Submodular().cover(vectors, keep)
    assert dense.tolist() == lazy_greedy(FacilityLocation(whole), keep)[0].tolist()
    sparse = Submodular(neighbours=min(64, 3000 // keep)).cover(vectors, keep)
    assert covered(whole, sparse) > 0.98 * covered(whole, dense)


def test_rows_with_more_copies_than_neighbours_are_covered():
    vectors = np.concatenate([np.repeat(unit(np.eye(4)), 50, axis=0), clustered(40, width=4, spread=1)])
    kept = Submodular(neighbours=8).cover(vectors, 6)
    assert {0, 1, 2, 3} <= set((kept // 50).tolist())


def test_a_large_pool_is_thinned_and_still_covered():
    vectors = clustered(12_000, groups=50, spread=1)
    whole = similarities(vectors)
    exact, _ = lazy_greedy(FacilityLocation(whole), 40)
    ours = Submodular().cover(vectors, 40)
    by_chance = np.random.default_rng(0).permutation(12_000)[:40]
    assert covered(whole, ours) > 0.98 * covered(whole, exact) > covered(whole, by_chance)


# -- what is drawn from the order ------------------------------------------------------------------------------------


def test_parts_are_covered_by_themselves():
    vectors = clustered(90)
    kept = Submodular(partitions=3).cover(vectors, 9, seed=4)
    parts = np.array_split(np.random.default_rng(4).permutation(90), 3)
    assert [len(set(kept.tolist()) & set(part.tolist())) for part in parts] == [3, 3, 3]


def test_bins_are_filled_in_turn_and_each_is_drawn_from():
    vectors = clustered(60)
    order, left = [], np.arange(60)
    for _ in range(3):
        order.append(left[lazy_greedy(GraphCut(vectors[left], 1.0), 20)[0]])
        left = np.setdiff1d(left, order[-1])
    kept = Submodular(objective="graph-cut", bins=3).cover(vectors, 12)
    assert [len(set(kept.tolist()) & set(one.tolist())) for one in order] == [4, 4, 4]
    assert set(kept[:4].tolist()) <= set(order[0].tolist())


def test_what_adds_more_is_drawn_more_often():
    vectors = np.concatenate([np.tile(unit(np.eye(1, 8)), (30, 1)), unit(np.eye(8)[1:])])  # thirty alike, seven alone
    kept = [Submodular(draw="gains").cover(vectors, 8, seed=seed) for seed in range(60)]
    alone = np.mean([(rows >= 30).mean() for rows in kept])
    assert alone > 1.3 * 7 / 37
    assert taylor_softmax(np.array([0.0, 2.0])).tolist() == pytest.approx([1 / 6, 5 / 6])


def test_draws_are_by_weight_and_without_return():
    rng = np.random.default_rng(0)
    first = np.bincount([drawn(np.array([1.0, 2.0, 7.0, 0.0]), 1, rng)[0] for _ in range(4000)], minlength=4) / 4000
    assert first == pytest.approx([0.1, 0.2, 0.7, 0.0], abs=0.03)
    assert sorted(drawn(np.array([1.0, 0.0, 5.0]), 3, rng).tolist()) == [0, 1, 2]


# -- quotas ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.floats(0, 10)), min_size=1, max_size=4), st.floats(0, 1))
def test_quotas_are_the_nearest_whole_numbers_in_their_bounds(groups, share):
    sizes = np.array([size for size, _ in groups])
    weights = np.array([weight for _, weight in groups]) + 0.01
    shares, keep = weights / weights.sum(), round(share * sizes.sum())
    found = quotas(shares, sizes, keep)
    low = int(keep >= len(sizes))
    assert found.sum() == keep and (found >= low).all() and (found <= sizes).all()
    tried = [one for one in itertools.product(*(range(low, size + 1) for size in sizes)) if sum(one) == keep]
    best = min(((np.array(one) - keep * shares) ** 2).sum() for one in tried)
    assert ((found - keep * shares) ** 2).sum() == pytest.approx(best, abs=1e-6)


def test_quotas_know_groups_without_rows():
    assert quotas(np.array([0.5, 0.5, 0.0]), np.array([0, 5, 2]), 4).tolist() == [0, 3, 1]


# -- clusters --------------------------------------------------------------------------------------------------------


def labelled(labels):
    return read([{"text": f"row {i}", "label": label} for i, label in enumerate(labels)])


def test_cells_are_found_again():
    vectors, of = clustered(900, groups=6, spread=0.1), None
    found = cells(vectors, 6)
    assert len(found.centroids) == 6
    of = (vectors @ found.centroids.T).argmax(axis=1)
    assert np.array_equal(of, found.of)
    within = np.mean([(vectors[rows] @ vectors[rows].T).mean() for rows in found.members()])
    assert within > 0.95


def test_cells_that_stay_empty_are_left_out():
    found = cells(np.tile(unit(np.ones((1, 4))), (9, 1)), 5)
    assert len(found.centroids) == found.of.max() + 1 == 1


def test_the_farthest_or_the_nearest_of_each_label():
    vectors = [[1, 0], [1, 0.1], [1, 0.9], [0, 1], [0.1, 1], [0.9, 1]]
    pool = labelled(["a", "a", "a", "b", "b", "b"])
    far = Clusters(groups="labels", within="farthest").select(pool, 2, signals=Known(vectors)).indices
    near = Clusters(groups="labels", within="nearest").select(pool, 2, signals=Known(vectors)).indices
    assert far.tolist() == [2, 5] and near.tolist() == [1, 4]


def test_complex_clusters_are_kept_more_of():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([unit(np.array([1.0, 0, 0]) + spread * rng.standard_normal((50, 3)) @ np.diag([0, 1, 0]))
                              for spread in (0.01, 0.8)] + [unit(np.array([0, 0, 1.0]) + np.zeros((50, 3)))])
    groups = Cells(np.repeat([0, 1, 2], 50), unit(np.stack([vectors[i * 50:i * 50 + 50].mean(0) for i in range(3)])))
    apart = 1 - groups.centroids @ groups.centroids.T
    spread = [(1 - vectors[i * 50:i * 50 + 50] @ groups.centroids[i]).mean() for i in range(3)]
    assert complexity(vectors, groups) == pytest.approx(apart.sum(axis=1) / 2 * spread, abs=1e-5)
    shares = Clusters(quota="complexity", temperature=0.02).shares(vectors, groups)
    assert shares[1] > 1.5 * max(shares[0], shares[2]) and shares.sum() == pytest.approx(1)


def test_each_repetition_of_a_task_gets_a_smaller_share():
    vectors = unit(np.array([[1, 0, 0.0], [1, 0, 0.01], [1, 0.01, 0], [0, 1, 0], [0.2, 0.2, 1]]))
    groups = Clusters(groups="labels").grouped(vectors, list("abcde"))
    shares = Clusters(quota="graph-cut").shares(vectors, groups)
    order, gains = lazy_greedy(GraphCut(vectors, 0.4), 5)
    assert shares[order] == pytest.approx(taylor_softmax(gains))
    first, second, third = sorted(shares[:3], reverse=True)
    assert first > 1.2 * second > 1.44 * third


def test_better_rows_are_drawn_more_often():
    vectors, groups = clustered(40, groups=2), Cells(np.repeat([0, 1], 20), unit(np.ones((2, 32))))
    quality = np.tile([1.0, 9.0], 20)
    kept = [Clusters(within="quality").choose(vectors, groups, np.array([1, 1]), quality=quality, seed=seed)
            for seed in range(400)]
    assert np.mean(np.concatenate(kept) % 2) == pytest.approx(0.9, abs=0.04)
    assert all(rows[0] < 20 <= rows[1] for rows in kept)


def test_clusters_whose_rows_teach_nothing_fade():
    shares = np.full(3, 1 / 3)
    for _ in range(5):
        shares = reweighted(shares, np.array([0.9, 0.8, 0.1]))
    assert shares.sum() == pytest.approx(1) and shares[2] < 1e-3 < shares[1] < shares[0]
    assert reweighted(shares, np.zeros(3)).tolist() == shares.tolist()


# -- volumes ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from(["gaussian", "cosine"]))
def test_greedy_volume_is_that_of_plain_determinants(seed, keep, kernel):
    directions = clustered(10, groups=4, width=8, spread=1, seed=seed).astype(float)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)  # the entries of rows with themselves are equal
    column = Determinantal(kernel=kernel)._column_of(directions)
    whole = np.stack([column(row) for row in range(10)])
    assert np.allclose(whole, whole.T) and np.allclose(np.diag(whole), 1, atol=1e-5)
    kept, volume = greedy_map(column, 10, keep)
    assert kept.tolist() == plain_greedy(lambda s: round(np.linalg.det(whole[np.ix_(s, s)]), 9), 10, keep)
    assert volume == pytest.approx(np.linalg.slogdet(whole[np.ix_(kept, kept)])[1], abs=1e-4)


def test_rows_that_are_spanned_come_last():
    directions = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, 0, 1]])
    kept, volume = greedy_map(lambda row: directions @ directions[row], 5, 5)
    assert kept.tolist()[:3] == [0, 2, 4] and sorted(kept.tolist()) == [0, 1, 2, 3, 4]
    assert volume == pytest.approx(0)
