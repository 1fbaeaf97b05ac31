"""Splits: by content, with each label's share, and never the same text on two sides."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scrimp.core.errors import DataError, OptionError
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, normal
from scrimp.examples.splits import few, folds, split


def labelled(counts: dict[str, int]) -> Examples:
    return read([{"text": f"{label} {n}", "label": label} for label, count in counts.items() for n in range(count)])


def texts(examples: Examples) -> set[str]:
    return {row["text"] for row in examples}


def shuffled(examples: Examples, seed: int) -> Examples:
    return examples.subset(random.Random(seed).sample(range(len(examples)), len(examples)))


rows = st.lists(st.tuples(st.sampled_from(["a", "A ", " b", "c", "d", "ｄ", "e", "f", "g", "h"]),
                          st.sampled_from("xyz")), min_size=2, max_size=30)


def of(pairs: list[tuple[str, str]]) -> Examples:
    return read([{"text": text, "label": label} for text, label in pairs])


@settings(max_examples=80, deadline=None)
@given(pairs=rows, share=st.floats(0.05, 0.95), seed=st.integers(0, 5), order=st.integers(0, 5))
def test_a_split_parts_the_rows_by_content(pairs: list[tuple[str, str]], share: float, seed: int, order: int) -> None:
    examples = of(pairs)
    try:
        rest, taken = split(examples, share, seed=seed)
    except DataError:
        assume(False)
    assert sorted(rest.sources + taken.sources) == sorted(examples.sources)
    assert not {normal(t) for t in texts(rest)} & {normal(t) for t in texts(taken)}
    again = split(shuffled(examples, order), share, seed=seed)
    assert [set(side.sources) for side in again] == [set(rest.sources), set(taken.sources)]


@settings(max_examples=80, deadline=None)
@given(pairs=rows, k=st.integers(2, 4), seed=st.integers(0, 5), order=st.integers(0, 5))
def test_folds_judge_every_row_once_by_content(pairs: list[tuple[str, str]], k: int, seed: int, order: int) -> None:
    examples = of(pairs)
    assume(len({normal(text) for text, _ in pairs}) >= k)
    parts = folds(examples, k, seed=seed)
    assert sorted(i for _, judged in parts for i in judged) == list(range(len(examples)))
    for learned, judged in parts:
        assert judged
        assert sorted(learned + judged) == list(range(len(examples)))
        assert not {normal(examples[i]["text"]) for i in learned} & {normal(examples[i]["text"]) for i in judged}
    mixed = shuffled(examples, order)
    sides = [{mixed.sources[i] for i in judged} for _, judged in folds(mixed, k, seed=seed)]
    assert sides == [{examples.sources[i] for i in judged} for _, judged in parts]


def test_each_label_has_its_share() -> None:
    examples = labelled({"a": 100, "b": 40, "c": 10, "rare": 1})
    rest, taken = split(examples, 0.2, seed=0)
    assert Counter(row["label"] for row in taken) == {"a": 20, "b": 8, "c": 2}
    assert rest.labels == examples.labels
    for _, judged in folds(examples, 5, seed=0):
        counts = Counter(examples[i]["label"] for i in judged)
        assert (counts["a"], counts["b"], counts["c"]) == (20, 8, 2)


def test_shares_of_many_small_labels_add_up() -> None:
    examples = labelled({f"l{n}": 3 for n in range(20)})
    _, taken = split(examples, 0.1, seed=0)
    assert len(taken) == 6
    assert max(Counter(row["label"] for row in taken).values()) == 1


def test_another_seed_is_another_split() -> None:
    examples = labelled({"a": 50})
    assert len({frozenset(texts(split(examples, 0.3, seed=seed)[1])) for seed in range(5)}) == 5


def test_both_sides_keep_the_order_of_the_rows() -> None:
    examples = labelled({"a": 30})
    for side in split(examples, 0.5, seed=1):
        assert list(side.sources) == sorted(side.sources, key=examples.sources.index)


def test_groups_stay_together() -> None:
    examples = labelled({"a": 40, "b": 40})
    groups = [n // 8 for n in range(80)]
    rest, taken = (set(side.sources) for side in split(examples, 0.3, seed=0, groups=groups))
    for group in range(10):
        members = {examples.sources[i] for i in range(80) if groups[i] == group}
        assert members <= rest or members <= taken
    assert taken


def test_groups_that_share_a_text_are_one() -> None:
    examples = read([{"text": text} for text in ("a", "b", "B", "c", "d", "e")])
    for seed in range(10):
        for side in split(examples, 0.4, seed=seed, groups=[1, 1, 2, 2, 3, 4]):
            assert len({"a", "b", "B", "c"} & texts(side)) in (0, 4)


def test_chats_with_the_same_question_stay_together() -> None:
    def chat(question: str, answer: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    examples = read([chat(f"q{n // 2}", f"a{n}") for n in range(20)])
    rest, taken = split(examples, 0.3, seed=0)
    assert not {row["messages"][0]["content"] for row in rest} & {row["messages"][0]["content"] for row in taken}


def test_a_few_of_each_class() -> None:
    repeats = [{"text": "A 1", "label": "a"}, {"text": "b  2", "label": "b"}]
    examples = read([*labelled({"a": 20, "b": 20, "c": 2}), *repeats])
    picked = few(examples, 8, seed=0)
    assert Counter(row["label"] for row in picked) == {"a": 8, "b": 8, "c": 2}
    assert "fewer than 8 distinct rows: c (2)" in picked.notes
    assert len({normal(text) for text in texts(picked)}) == len(picked)
    assert texts(few(shuffled(examples, 3), 8, seed=0)) == texts(picked)
    assert texts(few(examples, 8, seed=1)) != texts(picked)
    everything = few(examples, 20, seed=0)
    assert len(everything) == 42


def test_splits_that_cannot_be() -> None:
    examples = labelled({"a": 5})
    for share in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(OptionError, match="share"):
            split(examples, share, seed=0)
    same = read([{"text": "a"}, {"text": "A"}])
    with pytest.raises(DataError, match="2 rows in 1 groups cannot be split"):
        split(same, 0.5, seed=0)
    with pytest.raises(DataError, match="1 distinct rows cannot be parted into 2 folds"):
        folds(same, 2, seed=0)
    with pytest.raises(OptionError, match="k"):
        folds(examples, 1, seed=0)
    with pytest.raises(OptionError, match="3 groups for 5 rows"):
        split(examples, 0.5, seed=0, groups=[1, 2, 3])
    for wrong in ((same, 1), (examples, 0)):
        with pytest.raises(OptionError, match="per_class"):
            few(wrong[0], wrong[1], seed=0)
