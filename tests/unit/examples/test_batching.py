"""Batching: every row once, within the tokens allowed, padded by length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.examples.batching import collate, micro_batches, steps
from scrimp.examples.templates import Encoded

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(lengths=lengths, batch_size=st.integers(1, 9), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_an_epoch_has_every_row_once(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    made = steps(lengths, batch_size=batch_size, seed=seed, epoch=epoch)
    assert sorted(i for step in made for i in step) == list(range(len(lengths)))
    assert {len(step) for step in made[:-1]} <= {batch_size}
    assert 1 <= len(made[-1]) <= batch_size
    assert made == steps(lengths, batch_size=batch_size, seed=seed, epoch=epoch)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {str(steps([1] * 50, batch_size=4, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert steps([], batch_size=4, seed=0, epoch=0) == []
    with pytest.raises(OptionError, match="batch_size"):
        steps([1], batch_size=0, seed=0, epoch=0)


@settings(max_examples=60, deadline=None)
@given(lengths=lengths, tokens=st.integers(1, 200))
def test_micro_batches_keep_to_the_tokens(lengths: list[int], tokens: int) -> None:
    made = micro_batches(range(len(lengths)), lengths, tokens=tokens)
    assert sorted(i for part in made for i in part) == list(range(len(lengths)))
    for part in made:
        assert len(part) == 1 or max(lengths[i] for i in part) * len(part) <= tokens
    assert micro_batches(list(range(len(lengths)))[::-1], lengths, tokens=tokens) == made


def test_rows_of_like_length_come_together() -> None:
    assert micro_batches([0, 1, 2, 3], [1, 9, 2, 10], tokens=20) == [[3, 1], [2, 0]]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=9),
                     min_size=1, max_size=6), pad=st.integers(0, 9))
def test_a_batch_holds_the_rows_even_where_they_hold_the_pad(rows: list[list[tuple[int, bool]]], pad: int) -> None:
    encoded = [Encoded([i for i, _ in row], [learned for _, learned in row], n if n % 2 else None, n + 5)
               for n, row in enumerate(rows)]
    batch = collate(encoded, pad_id=pad)
    for n, one in enumerate(encoded):
        real = batch.attention_mask[n].astype(bool)
        assert real.tolist() == [k < len(one.ids) for k in range(real.size)]
        assert batch.input_ids[n][real].tolist() == one.ids
        assert batch.trained[n][real].tolist() == one.trained
        assert not batch.trained[n][~real].any()
        assert (batch.input_ids[n][~real] == pad).all()
    assert batch.targets.tolist() == [n if n % 2 else -1 for n in range(len(rows))]
    assert batch.rows.tolist() == [n + 5 for n in range(len(rows))]
    assert batch.tokens == sum(map(len, rows))
    assert [a.dtype for a in (batch.input_ids, batch.attention_mask, batch.trained, batch.targets)] == [
        np.int64, np.int64, np.bool_, np.int64]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6),
       tokens=st.integers(1, 60))
def test_pairs_stay_together_and_fit(sizes: list[tuple[int, int]], tokens: int) -> None:
    pairs = [Encoded([1] * a, [True] * a, row=n, second=Encoded([2] * b, [True] * b, row=n), reference=(-a, -b))
             for n, (a, b) in enumerate(sizes)]
    for part in micro_batches(range(len(pairs)), [pair.padded for pair in pairs], tokens=tokens):
        batch = collate([pairs[i] for i in part], pad_id=0)
        assert batch.input_ids.size <= tokens or len(part) == 1
        assert batch.tokens == sum(pairs[i].tokens for i in part)
        assert batch.rows.tolist() == part * 2
        assert batch.second.tolist() == [-1] * len(part) + list(range(len(part)))
        assert batch.reference.tolist() == [-sizes[i][0] for i in part] + [-sizes[i][1] for i in part]
        assert [row.max() for row in batch.input_ids] == [1] * len(part) + [2] * len(part)


def test_what_was_not_measured_is_no_number() -> None:
    assert np.isnan(collate([Encoded([1], [True])], pad_id=0).reference).all()
