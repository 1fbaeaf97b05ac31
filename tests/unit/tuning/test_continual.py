import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.core.registry import build


@settings(max_examples=60, deadline=None)
@given(new=st.integers(1, 200), old=st.integers(1, 200), share=st.floats(0, 0.9), seed=st.integers(0, 9))
def test_the_share_is_old_and_no_old_row_comes_more_often_than_it_must(new, old, share, seed):
    order = build("continual", "replay", {"share": share}).order(new, old, seed=seed)
    again = order[order >= new]
    assert abs(len(again) - len(order) * share) <= 1
    times = np.bincount(again - new, minlength=old)
    assert times.max() - times.min() <= 1


def test_old_rows_are_spread_over_the_whole():
    order = build("continual", "replay", {"share": 0.25}).order(3000, 9000)
    quarters = [np.mean(part >= 3000) for part in np.split(order, 4)]
    assert max(quarters) - min(quarters) < 0.08


def test_without_old_rows_there_is_nothing_to_replay():
    assert len(build("continual", "no-replay").order(9, 0)) == 9
    with pytest.raises(OptionError, match="no old rows"):
        build("continual", "replay", {"share": 0.5}).order(9, 0)
