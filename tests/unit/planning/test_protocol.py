import pytest

from scrimp.examples.records import Examples, Layout
from scrimp.planning.protocol import choose


def rows(count: int) -> Examples:
    made = tuple({"text": f"text number {i}", "label": "ab"[i % 2]} for i in range(count))
    return Examples(made, Layout.LABEL, tuple(f"x.jsonl:{i + 1}" for i in range(count)))


@pytest.mark.parametrize(("left", "folds"), [(1000, 5), (45, 3), (25, 2), (5, 1)])
def test_the_time_decides_how_thoroughly_it_is_judged(left, folds):
    protocol = choose(rows(60), seconds=lambda n: n / 6, left_s=left, judge_s=0.0, seed=0)
    assert len(protocol.parts) == folds
    assert protocol.refit is (folds > 1)
    for learned, judged in protocol.parts:
        assert not set(learned) & set(judged)
    if folds > 1:
        assert sorted(protocol.judged) == list(range(60))


def test_many_rows_are_held_out_once():
    protocol = choose(rows(3000), seconds=lambda n: 0.0, left_s=1e9, judge_s=0.0, seed=0)
    (learned, judged), = protocol.parts
    assert 300 <= len(judged) <= 400
    assert sorted(learned + judged) == list(range(3000))


def test_a_handful_of_rows_is_not_judged():
    protocol = choose(rows(6), seconds=lambda n: 1e9, left_s=1.0, judge_s=0.0, seed=0)
    assert protocol.judged == []
    assert protocol.trainings(6) == [6]
