"""Steps of one topic: whose rows they are, that none is left out, and that margins are spread."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.tuning.sampling.topics import token_topics


def rows(count: int) -> list[Encoded]:
    return [Encoded([3, 4], [False, True], row=i) for i in range(count)]


def steps(count: int, *, batch_size: int = 4, epochs: int = 2, **options) -> list[list[list[int]]]:
    feed = build("sampling", "topics", options).feed(rows(count), batch_size=batch_size, seed=0)
    every = [feed.indices(step) for step in range(epochs * feed.steps_per_epoch)]
    return [every[at:at + feed.steps_per_epoch] for at in range(0, len(every), feed.steps_per_epoch)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 7))
def test_each_step_is_of_one_topic_and_each_row_comes_once(topics: list[int], batch_size: int) -> None:
    for epoch in steps(len(topics), batch_size=batch_size, topic_of=tuple(topics)):
        assert all(len({topics[i] for i in step}) == 1 and 1 <= len(step) <= batch_size for step in epoch)
        assert sorted(i for step in epoch for i in step) == list(range(len(topics)))
        assert len(epoch) == sum(-(-size // batch_size) for size in Counter(topics).values())


def test_epochs_and_topics_come_in_an_order_of_their_own() -> None:
    topics = tuple(np.repeat(range(4), 12).tolist())
    first, second = steps(48, topic_of=topics)
    assert first != second
    assert [topics[step[0]] for step in first] != sorted(topics[step[0]] for step in first)


def test_rare_margins_come_as_often_as_usual_ones() -> None:
    margins = tuple([0.0] * 90 + [0.5] * 6 + [1.0] * 4)
    epochs = steps(100, epochs=40, topic_of=(0,) * 100, margins=margins, bins=2)
    told = [i for epoch in epochs for s in epoch for i in s]
    assert np.mean([margins[i] >= 0.5 for i in told]) == pytest.approx(0.5, abs=0.06)
    assert all(len(set(s)) == len(s) for epoch in epochs for s in epoch)


def test_topics_are_found_by_what_rows_ask() -> None:
    data = [Encoded([10 + 10 * (i % 3), 11 + 10 * (i % 3), 40 + i % 7], [False, False, True], row=i) for i in range(30)]
    found = token_topics(data, 3, seed=0)
    assert len(set(found.tolist())) == 3 and all(len(set(found[kind::3].tolist())) == 1 for kind in range(3))
    without = [Encoded(row.ids[:2], [True, True], row=row.row) for row in data]
    assert len(set(token_topics(without, 3, seed=0)[::3].tolist())) == 1


def test_every_row_needs_its_own() -> None:
    for option in ("topic_of", "margins"):
        with pytest.raises(OptionError, match="row 4 of the data has none"):
            steps(5, **{option: (1, 2, 3, 1)})
