"""Scores of rows against what they are defined as, and the rules that make selections of them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from scrimp.checkpoints.loading import resolve
from scrimp.core.errors import OptionError
from scrimp.core.registry import build, presets
from scrimp.data.selection.hardness import Hardness, hardness
from scrimp.data.selection.labelnoise import LabelNoise, label_trust, shrunk, sure_counts
from scrimp.data.selection.likelihood import Likelihood, arranged, bigram_log_probabilities
from scrimp.data.selection.outoffold import out_of_fold
from scrimp.data.selection.quality import Quality
from scrimp.data.selection.ratings import CuratedRatings, curated, levels_of, nearest_rows, transition_matrix
from scrimp.data.selection.scored import Length, Scored, answer_text, best_of_each, far_apart, in_order, whole_text
from scrimp.examples.formats import read
from scrimp.examples.templates import Encoded
from scrimp.signals import Signals

numbers = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


class Known:
    """Signals that are given for texts."""

    def __init__(self, vectors):
        self._vectors = vectors

    def embeddings(self, rows):
        return np.array([self._vectors[row["text"]] for row in rows], dtype=np.float32)


def unit(rows):
    return np.asarray(rows, dtype=float) / np.linalg.norm(rows, axis=1, keepdims=True)


# -- rules -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(numbers, st.sampled_from(["highest", "lowest", "middle", "sample"]))
def test_every_rule_orders_all_rows(scores, rule):
    better, order = in_order(np.array(scores, dtype=float), rule, 1.0, 0)
    assert sorted(order.tolist()) == list(range(len(scores)))
    if rule != "sample":
        assert (np.diff(better[order]) <= 0).all()


def test_the_highest_and_the_lowest_are_opposites():
    scores = np.array([3.0, 1.0, 2.0])
    assert in_order(scores, "highest", 1.0, 0)[1].tolist() == [0, 2, 1]
    assert in_order(scores, "lowest", 1.0, 0)[1].tolist() == [1, 2, 0]


def test_the_middle_is_the_median_however_far_the_ends_are():
    assert in_order(np.array([900.0, 1.0, 4.0, 2.0, 3.0]), "middle", 1.0, 0)[1].tolist() == [4, 2, 3, 0, 1]


def test_sampling_favours_high_scores_by_the_temperature():
    scores = np.array([1.0, 0.0, -1.0])
    first = {t: np.bincount([in_order(scores, "sample", t, seed)[1][0] for seed in range(2000)], minlength=3) / 2000
             for t in (0.05, 1.0, 100.0)}
    z = scores / scores.std()
    assert first[1.0] == pytest.approx(np.exp(z) / np.exp(z).sum(), abs=0.04)
    assert first[0.05][0] > 0.99
    assert first[100.0] == pytest.approx([1 / 3] * 3, abs=0.04)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=10))
def test_the_best_of_each_group_goes_before_a_second_one(groups):
    order = np.arange(len(groups))[::-1]
    found = best_of_each(order, groups).tolist()
    place = {row: sum(groups[r] == groups[row] for r in order.tolist()[:order.tolist().index(row)]) for row in found}
    assert [place[row] for row in found] == sorted(place.values())
    assert sorted(found) == sorted(order.tolist())
    for group in set(groups):
        assert [r for r in found if groups[r] == group] == [r for r in order.tolist() if groups[r] == group]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.1, 0.5, 1.2]))
def test_rows_that_are_near_wait_until_there_are_no_others(seed, keep, apart):
    vectors = unit(np.random.default_rng(seed).normal(size=(8, 2)))
    found = far_apart(np.arange(8), vectors, keep, apart)
    assert sorted(found.tolist()) == list(range(8))
    brute = []
    for row in range(8):
        if len(brute) < keep and all(1 - vectors[row] @ vectors[j] >= apart - 1e-12 for j in brute):
            brute.append(row)
    assert found.tolist() == brute + [row for row in range(8) if row not in brute]


def test_a_copy_is_kept_only_when_nothing_else_is_left():
    pool = read([{"text": "aaaa"}, {"text": "aaa"}, {"text": "bb"}])
    signals = Known({"aaaa": [1, 0], "aaa": [1, 0.01], "bb": [0, 1]})
    assert Length(apart=0.1).select(pool, 2, signals=signals).indices.tolist() == [0, 2]
    assert Length().select(pool, 2, signals=signals).indices.tolist() == [0, 1]
    assert Length(apart=0.1).select(pool, 3, signals=signals).indices.tolist() == [0, 2, 1]


def test_what_a_row_says_in_every_layout():
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "long answer"}]}
    rows = {"p\nlong": {"prompt": "p", "completion": "long"},
            "p\nyes": {"prompt": "p", "chosen": "yes", "rejected": "n"},
            "text": {"text": "text", "label": "l"}, "q\nlong answer": chat}
    assert [whole_text(row) for row in rows.values()] == list(rows)
    assert [answer_text(row) for row in rows.values()] == ["long", "yes", "l", "long answer"]
    assert answer_text({"text": "text"}) == ""
    pool = read([{"prompt": "x" * 9, "completion": "a"}, {"prompt": "x", "completion": "abc"}])
    assert Length().select(pool, 1, signals=None).indices.tolist() == [1]
    assert build("selection", "longest").cost().forward == 0


def test_of_versions_of_a_prompt_the_best_answer_is_kept_of_each():
    pool = read([{"prompt": p, "completion": c} for p, c in [("a", "xxxx"), ("a", "xxx"), ("b", "x"), ("b", "xx")]])
    assert Length(each="prompt").select(pool, 2, signals=None).indices.tolist() == [0, 3]
    assert Length().select(pool, 2, signals=None).indices.tolist() == [0, 1]


def test_embeddings_are_paid_for_once():
    assert Length(apart=0.1).cost().forward == 1
    assert Likelihood(apart=0.1).cost().forward == 2
    assert Quality(apart=0.1).cost().forward == Quality().cost().forward == 1


def test_no_rows_are_no_obstacle():
    for preset in presets("selection"):
        if issubclass(preset.method, Scored):
            assert len(preset.build().select(read([{"text": "a"}]).subset([]), 0, signals=None).indices) == 0


# -- likelihoods -----------------------------------------------------------------------------------------------------


def test_what_is_predicted_from_what():
    row = Encoded([9, 1, 2, 3, 4], [False, False, False, True, True], row=5)
    assert arranged(row, [9], "answer", given=True) is row
    ids = {(part, told): arranged(row, [9], part, given=told)
           for part in ("answer", "prompt") for told in (True, False)}
    assert ids["answer", False].ids == [9, 3, 4]
    assert ids["prompt", True].ids == [9, 3, 4, 1, 2]
    assert ids["prompt", False].ids == [9, 1, 2]
    assert ids["prompt", True].trained == [False] * 3 + [True] * 2
    assert arranged(Encoded([1, 3], [False, True]), [9], "prompt", given=True).ids == [9, 3, 1]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=4))
def test_pairs_of_tokens_are_counted_in_the_other_rows(texts):
    rows = [Encoded(ids, [True] * len(ids)) for ids in texts]
    pairs = [list(itertools.pairwise(ids)) for ids in texts]
    words = len({w for row in pairs for _, w in row})
    for number, found in enumerate(bigram_log_probabilities(rows)):
        others = [pair for i, row in enumerate(pairs) if i != number for pair in row]
        wanted = 0.0
        for before, word in pairs[number]:
            single = (sum(w == word for _, w in others) + 1) / (len(others) + words)
            wanted += np.log((others.count((before, word)) + 10 * single)
                             / (sum(v == before for v, _ in others) + 10))
        assert found == pytest.approx(wanted)


@pytest.fixture
def pool():
    return read([{"prompt": f"question {word}", "completion": f"{word} it is"} for word in ("one", "two", "good film")])


@pytest.fixture
def signals(encoder_folder, causal_folder):
    return Signals(resolve(encoder_folder), model=resolve(causal_folder))


def nats(model, ids, first):
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [float(-scores[at - 1, ids[at]]) for at in range(first, len(ids))], scores


def test_scores_are_losses_less_their_baseline(pool, signals, causal_folder):
    loaded = signals.language()
    begin = [loaded.tokenizer.eos_token_id]  # it puts nothing before a text
    for number, row in enumerate(signals.encoded(pool)):
        first = row.trained.index(True)
        answer, prompt = row.ids[first:], row.ids[:first]
        given, scores = nats(loaded.model, row.ids, first)
        alone, _ = nats(loaded.model, begin + answer, 1)
        entropy = -(scores.exp() * scores).sum(-1)[first - 1:-1].mean()
        back, _ = nats(loaded.model, begin + answer + prompt, 1 + len(answer))
        back_alone, _ = nats(loaded.model, begin + prompt, 1)
        wanted = {("answer", "nothing"): np.mean(given), ("answer", "alone"): np.mean(given) - np.mean(alone),
                  ("answer", "samples"): np.mean(given) - float(entropy), ("prompt", "nothing"): np.mean(back),
                  ("prompt", "alone"): np.mean(back) - np.mean(back_alone)}
        for (part, against), score in wanted.items():
            found = Likelihood(part=part, against=against).score(pool, signals=signals, target=None, seed=0)
            assert found[number] == pytest.approx(score, abs=0.02), (part, against)


def test_a_model_is_no_better_than_itself(pool, signals, causal_folder):
    method = Likelihood(against="reference", reference=str(causal_folder))
    assert method.score(pool, signals=signals, target=None, seed=0) == pytest.approx([0, 0, 0], abs=1e-6)
    assert method.cost().forward == 2


def test_texts_have_no_prompt(signals):
    with pytest.raises(OptionError, match="no prompt"):
        build("selection", "ifd").select(read([{"text": "a b"}]), 1, signals=signals)


# -- classifiers -----------------------------------------------------------------------------------------------------


def test_no_row_is_judged_by_a_fit_that_has_seen_it():
    labels = np.arange(40) % 2
    found = out_of_fold(np.eye(40), labels, folds=5, seed=0, strength=100.0)
    assert found.sum(axis=1) == pytest.approx(np.ones(40))
    assert (found[np.arange(40), labels] <= 0.5 + 1e-9).all()  # nothing but its own label tells a row's


def test_rows_like_the_target_score_highest():
    pool = read([{"text": f"{'clean prose' if i % 3 else 'qx zz'} number {i}"} for i in range(30)])
    target = read([{"text": f"clean prose of {i}"} for i in range(9)])
    found = build("selection", "quality-classifier").select(pool, 20, signals=None, target=target)
    assert sorted(found.indices.tolist()) == [i for i in range(30) if i % 3]
    for short in (None, target.subset([0])):
        with pytest.raises(OptionError, match="target"):
            Quality(features="ngrams").select(pool, 2, signals=None, target=short)


def test_only_a_few_are_judged_and_the_hard_ones_found():
    rng = np.random.default_rng(0)
    hard = np.arange(200) < 50
    vectors = unit(np.where(hard[:, None], [1.0, 0.2, 0], [0, 0.2, 1.0]) + 0.2 * rng.normal(size=(200, 3)))
    asked = []

    def judge(rows):
        asked.extend(rows.tolist())
        return np.where(hard[rows], 3.0, 1.0)

    scores = hardness(vectors, judge, 20, rounds=3, weight=0.5, threshold=2.0, seed=0)
    assert len(asked) == len(set(asked)) == 20
    assert (hard[np.argsort(-scores)[:50]]).mean() > 0.9
    assert np.mean(hard[asked[7:]]) > np.mean(hard[asked[:7]])  # later rounds look where it is hard
    assert Hardness(judged=0.2).cost().forward == pytest.approx(1.2)


@pytest.mark.parametrize("loss", [1.0, 3.0])
def test_where_all_are_as_hard_none_is_preferred(loss):
    vectors = unit(np.random.default_rng(0).normal(size=(12, 3)))
    scores = hardness(vectors, lambda rows: np.full(len(rows), loss), 4, rounds=2, weight=1.0, threshold=2.0, seed=0)
    assert scores.tolist() == [float(loss > 2)] * 12


def test_labels_of_the_surest_rows_are_counted():
    first = np.array([0.9, 0.8, 0.6, 0.3, 0.2])
    counts = sure_counts(np.stack([first, 1 - first], axis=1), np.array([0, 1, 0, 1, 1]))
    assert counts.tolist() == [[1, 0], [0, 2]]  # of the first label the surest of its two rows, of the other two


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_few_counts_are_brought_nearer_to_what_columns_share(seed, classes):
    rng = np.random.default_rng(seed)
    usual = np.where(np.eye(classes, dtype=bool), 0.8, 0.2 / (classes - 1))
    alike = np.stack([rng.multinomial(60, column) for column in usual.T], axis=1).astype(float)
    apart = 100.0 * (np.eye(classes) + 0.5 * np.roll(np.eye(classes), 1, axis=0))
    for counts in (alike, apart):
        assert shrunk(counts).sum(axis=0) == pytest.approx(np.ones(classes))
        assert (shrunk(counts) > 0).all()
    right = np.trace(alike) / alike.sum()
    shared = np.where(np.eye(classes, dtype=bool), right, (1 - right) / (classes - 1))
    distance = np.abs(shrunk(alike) - shared).sum()
    assert distance <= np.abs(alike / 60 - shared).sum() + 1e-9
    if classes > 2:  # each label has one that it is mistaken for
        assert np.abs(shrunk(apart) - apart / 150).max() < 0.05


def test_kinds_that_are_alike_are_not_mistaken_labels():
    """Of each kind a third of the rows is as likely of another one; mistakes, of one row in ten, go anywhere."""
    rng = np.random.default_rng(0)
    kind = np.arange(3000) % 6
    doubt = np.where(rng.random(3000) < 1 / 3, 0.5, 0.02)[:, None]
    truth = (1 - doubt) * np.eye(6)[kind] + doubt * np.eye(6)[kind ^ 1]
    true = (truth.cumsum(axis=1) < rng.random(3000)[:, None]).sum(axis=1).clip(0, 5)
    wrong = rng.random(3000) < 0.1
    labels = np.where(wrong, (true + rng.integers(1, 6, 3000)) % 6, true)
    learned = 0.88 * truth + 0.02
    own = learned[np.arange(3000), labels]
    assert average_precision_score(wrong, -label_trust(learned, labels)) > average_precision_score(wrong, -own) - 0.005


def test_mistakes_that_the_classifier_has_learned_are_taken_back():
    """A third of the first kind is labelled as the second, which a classifier then believes of all the first kind."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 3000)
    moved = (kind == 0) & (rng.random(6000) < 1 / 3)
    labels = np.where(moved, 1, kind)
    truth = np.stack([np.where(kind == 0, 0.97, 0.03), np.where(kind == 0, 0.03, 0.97)], axis=1)
    learned = truth @ np.array([[2 / 3, 1 / 3], [0, 1]])  # what a classifier of these labels comes to
    learned = np.clip(learned + 0.02 * rng.normal(size=6000)[:, None] * [1, -1], 0.001, 0.999)
    trust = label_trust(learned, labels)
    assert learned[(kind == 0) & ~moved, 0].max() < 0.75
    assert trust[~moved].min() > 0.9
    assert trust[moved].max() < 0.7


def test_wrong_labels_are_left_out():
    rng = np.random.default_rng(1)
    texts = [f"t{i}" for i in range(90)]
    true = np.arange(90) % 3
    vectors = {t: np.eye(3)[c] + 0.2 * rng.normal(size=3) for t, c in zip(texts, true, strict=True)}
    wrong = rng.choice(90, 15, replace=False)
    given = true.copy()
    given[wrong] = (true[wrong] + 1) % 3
    pool = read([{"text": t, "label": str(c)} for t, c in zip(texts, given, strict=True)])
    found = LabelNoise().select(pool, 75, signals=Known(vectors))
    assert len(set(found.indices.tolist()) & set(wrong.tolist())) <= 1
    with pytest.raises(OptionError, match="labels"):
        LabelNoise().select(read([{"text": "t0"}]), 1, signals=Known(vectors))


# -- ratings ---------------------------------------------------------------------------------------------------------


def planted(noise, count=1500, levels=4):
    """Clusters whose rows share a true rating, and ratings mistaken with known chances."""
    rng = np.random.default_rng(0)
    true = rng.choice(levels, count, p=[0.4, 0.3, 0.2, 0.1])
    vectors = unit(np.eye(levels)[true] + 0.15 * rng.normal(size=(count, levels)))
    ratings = np.array([rng.choice(levels, p=noise[k]) for k in true])
    return true, ratings, nearest_rows(vectors, 5)[0]


def test_how_ratings_are_mistaken_is_found_and_put_right():
    noise = np.array([[0.6, 0.3, 0.1, 0], [0.1, 0.7, 0.1, 0.1], [0, 0.3, 0.6, 0.1], [0.1, 0.1, 0.3, 0.5]])
    true, ratings, near = planted(noise)
    mistaken, share = transition_matrix(ratings, near, 4)
    assert np.abs(mistaken - noise).max() < 0.1
    assert np.abs(share - np.bincount(true) / len(true)).max() < 0.05
    mended = curated(ratings, near, mistaken, share)
    assert np.abs(mended - true).mean() < 0.3 * np.abs(ratings - true).mean()
    unsure = curated(ratings, near, mistaken, share, sure=1.0)
    assert (unsure == ratings).mean() > (mended == ratings).mean()


def test_ratings_without_mistakes_stay():
    true, ratings, near = planted(np.eye(4))
    mistaken, share = transition_matrix(ratings, near, 4)
    assert np.abs(mistaken - np.eye(4)).max() < 0.02
    assert (curated(ratings, near, mistaken, share) == true).mean() > 0.999


def test_levels_hold_equal_shares_and_equal_scores_share_one():
    assert np.bincount(levels_of(np.random.default_rng(0).normal(size=60), 6)).tolist() == [10] * 6
    assert len(set(levels_of(np.ones(7), 6).tolist())) == 1
    assert levels_of(np.array([5.0, 1.0, 3.0]), 3).tolist() == [2, 0, 1]


def test_a_rating_needs_scores():
    with pytest.raises(OptionError, match="random"):
        CuratedRatings(by="random").cost()
    assert CuratedRatings(by="longest").cost().forward == 1
    assert build("selection", "ds2").cost().forward == 2
