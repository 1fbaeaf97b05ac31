"""Leakage: what the test shares with the training rows, exactly or nearly, and what repeats."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.examples.formats import read
from scrimp.examples.leakage import conflicts, duplicates, find
from scrimp.examples.records import Examples, normal


def of(*texts: str) -> Examples:
    return read([{"text": text} for text in texts])


def runs(text: str) -> set[str]:
    text = normal(text)
    return {text[i:i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(a: str, b: str) -> float:
    return len(runs(a) & runs(b)) / len(runs(a) | runs(b))


LONG = "The committee met on Tuesday to discuss the budget for the coming year and agreed on nothing at all."


def test_the_same_but_for_case_space_and_form() -> None:
    found = find(of("x", "  Ｆｉｌｍ  one", "y"), of("film ONE", "z", "Film\tone"))
    assert found.exact == ((1, 0), (1, 2))
    assert found.near == ()
    assert (found.train_rows, found.test_rows) == ([1], [0, 2])


def test_every_row_concerned_is_named() -> None:
    found = find(of("a", "A", "a ", "b"), of("a", "c", "b", "B"))
    assert found.train_rows == [0, 1, 2, 3]
    assert found.test_rows == [0, 2, 3]
    assert len(found.exact) == 5


def test_nearly_the_same() -> None:
    close, far = LONG.replace("Tuesday", "Thursday"), LONG[:80] + " ended with a vote."
    found = find(of("other", LONG), of(close, far, "nothing like it"))
    assert [(i, j) for i, j, _ in found.near] == [(1, 0)]
    assert found.near[0][2] == pytest.approx(jaccard(LONG, close))
    assert [(i, j) for i, j, _ in find(of(LONG), of(far), threshold=0.6).near] == [(0, 0)]
    assert find(of(LONG), of(close), threshold=1).near == ()


def test_all_training_rows_near_a_test_row_are_named() -> None:
    variants = [LONG.replace("Tuesday", day) for day in ("Monday", "Friday", "Sunday")]
    found = find(of(*variants, "unlike"), of(LONG))
    assert found.train_rows == [0, 1, 2]


def test_prompts_and_chats_are_compared_by_what_they_ask() -> None:
    train, test = read([{"prompt": LONG, "completion": "yes"}]), read([{"prompt": LONG, "completion": "no"}])
    assert find(train, test).exact == ((0, 0),)
    chats = [read([{"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": answer}]}])
             for answer in ("yes", "no")]
    assert find(*chats).exact == ((0, 0),)


def test_short_and_strange_texts() -> None:
    assert find(of("a", "ab", "😀", "שלום"), of("b", "ba", "😁", "AB")).near == ()
    assert find(of("a", "ab"), of("AB")).exact == ((1, 0),)


@settings(max_examples=40, deadline=None)
@given(base=st.lists(st.text("abc ", min_size=10, max_size=60).filter(str.strip), min_size=1, max_size=5),
       edits=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.text("abcd", max_size=3)), max_size=5))
def test_what_is_called_near_is_near(base: list[str], edits: list[tuple[int, int, str]]) -> None:
    changed = [base[which % len(base)][:at] + new + base[which % len(base)][at:] for which, at, new in edits]
    train, test = of(*base), of(*(changed or ["x"]))
    for i, j, similarity in find(train, test).near:
        assert 0.8 <= similarity <= 1
        assert similarity == pytest.approx(jaccard(train[i]["text"], test[j]["text"]))
    for i, j in find(train, test).exact:
        assert normal(train[i]["text"]) == normal(test[j]["text"])


def test_hardly_any_near_duplicate_is_missed() -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(500)]
    texts = [" ".join(draw.choices(words, k=40)) for _ in range(200)]
    swapped = [" ".join(draw.choice(words) if n == 20 else word for n, word in enumerate(text.split()))
               for text in texts]
    expected = {n for n in range(200) if texts[n] != swapped[n] and jaccard(texts[n], swapped[n]) >= 0.8}
    found = {j for i, j, _ in find(of(*texts), of(*swapped)).near if i == j}
    assert len(expected) > 150
    assert len(expected - found) <= 1


def test_questions_of_one_wording_are_no_duplicates() -> None:
    draw = random.Random(0)
    sums = [" + ".join(str(draw.randint(100, 999)) for _ in range(3)) for _ in range(60)]
    asked = [f"State the final answer to the following arithmetic problem, and nothing but it: {s} = ?" for s in sums]
    assert jaccard(asked[0], asked[1]) > 0.6
    assert find(of(*asked[:40]), of(*asked[40:])).train_rows == []
    assert find(of(*asked[:40]), of(*asked[40:], asked[7].replace("State", "Give"))).train_rows == [7]
    assert duplicates(of(*asked), threshold=0.8) == []


def test_texts_of_nothing_but_common_runs_are_compared_exactly() -> None:
    texts = [f"{'the same old words again ' * (1 + n)}".strip() for n in range(30)]
    assert find(of(*texts), of(texts[3])).near == ()
    assert find(of(*texts), of(texts[3])).exact == ((3, 0),)


def test_duplicates_within_a_set() -> None:
    close = LONG.replace("Tuesday", "Thursday")
    examples = of("a", LONG, "A ", close, "b", "a", LONG.upper())
    assert duplicates(examples) == [[0, 2, 5], [1, 6]]
    assert duplicates(examples, threshold=0.8) == [[0, 2, 5], [1, 3, 6]]
    assert duplicates(of("a", "b")) == []


def test_labels_that_contradict_each_other() -> None:
    examples = read([{"text": "a", "label": "x"}, {"text": "A", "label": "y"}, {"text": "b", "label": "x"},
                     {"text": "b", "label": "x"}])
    (found,) = conflicts(examples)
    assert (found.rows, found.labels) == ((0, 1), ("x", "y"))
    assert conflicts(of("a", "a")) == []


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.1, float("nan")])
def test_thresholds_out_of_range(threshold: float) -> None:
    with pytest.raises(OptionError, match="threshold"):
        find(of("a"), of("b"), threshold=threshold)
    with pytest.raises(OptionError, match="threshold"):
        duplicates(of("a"), threshold=threshold)


def test_rows_with_much_in_common_and_a_very_long_one_take_no_time() -> None:
    draw = random.Random(0)
    boiler = "This message was sent to all members of the list and may not be passed on to any third party. " * 2
    texts = [boiler + "".join(draw.choices("abcdefgh ", k=100)) for _ in range(1200)]
    start = time.process_time()
    found = find(of(*texts[:1000], "word " * 600_000), of(*texts[1000:], "word " * 600_001))
    assert time.process_time() - start < 10
    assert found.test_rows == [200]
    assert found.near[0][2] == pytest.approx(jaccard("word " * 9, "word " * 10))
