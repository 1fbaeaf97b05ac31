import pytest

from scrimp.examples.records import Examples, Layout
from scrimp.planning.protocol import choose, folded


def rows(count: int) -> Examples:
    made = tuple({"text": f"text number {i}", "label": "ab"[i % 2]} for i in range(count))
    return Examples(made, Layout.LABEL, tuple(f"x.jsonl:{i + 1}" for i in range(count)))


@pytest.mark.parametrize(("count", "folds"), [(60, 5), (9, 3), (4, 2)])
def test_so_many_folds_as_there_are_rows_for(count, folds):
    protocol = choose(rows(count), folds=True, seed=0)
    assert len(protocol.parts) == folds
    assert protocol.refit
    for learned, judged in protocol.parts:
        assert not set(learned) & set(judged)
    assert protocol.judged == list(range(count))


def test_other_folds_judge_the_same_rows():
    assert folded(rows(60), 2, 0).judged == folded(rows(60), 5, 0).judged


def test_where_there_is_no_time_to_fold_a_part_is_held_out():
    protocol = choose(rows(60), folds=False, seed=0)
    assert (len(protocol.parts), protocol.refit, len(protocol.judged)) == (1, False, 12)


def test_many_rows_are_held_out_once():
    protocol = choose(rows(3000), folds=True, seed=0)
    (learned, judged), = protocol.parts
    assert 300 <= len(judged) <= 400
    assert sorted(learned + judged) == list(range(3000))


def test_a_handful_of_rows_is_not_judged():
    protocol = choose(rows(6), folds=False, seed=0)
    assert protocol.judged == []
    assert protocol.trainings(6) == [6]
