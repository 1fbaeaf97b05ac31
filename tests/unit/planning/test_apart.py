"""What is measured on was not learned from, whatever was said before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scrimp.core.errors import GuardError
from scrimp.examples.formats import read
from scrimp.planning.findings import check_apart
from scrimp.planning.protocol import Protocol


def rows(*texts: str):
    return read([{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)])


def test_a_test_row_that_was_trained_on_is_told() -> None:
    run = SimpleNamespace(train=rows("one", "two", "three"), test=rows("four", "  TWO "))
    with pytest.raises(GuardError, match="1 test rows stand among the training rows") as caught:
        check_apart(run)
    assert caught.value.where == "rows:2"


def test_rows_that_are_apart_pass() -> None:
    check_apart(SimpleNamespace(train=rows("one", "two"), test=rows("three")))
    check_apart(SimpleNamespace(train=rows("one", "two"), test=None))


@pytest.mark.parametrize("parts", [(((0, 1, 2), (2, 3)),), (((0, 1), (2, 3)), ((2, 3), (0, 3)))])
def test_a_row_on_both_sides_of_a_protocol_is_told(parts) -> None:
    with pytest.raises(GuardError, match="judged on that were trained on"):
        Protocol(parts, refit=True, words="folds")
