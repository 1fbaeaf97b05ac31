"""Examples: what they hold, and how labels and texts are ordered and compared."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.examples.records import Examples, Layout, natural, normal

ROWS = ({"text": "a", "label": "x10"}, {"text": "b", "label": "x2"}, {"text": "c", "label": "x10"})


def test_examples_are_a_sequence_with_labels_and_a_fingerprint() -> None:
    examples = Examples(ROWS, Layout.LABEL, ("f:1", "f:2", "f:3"), "why", ("note",))
    assert (len(examples), examples[1], list(examples)) == (3, ROWS[1], list(ROWS))
    assert examples.labels == ("x2", "x10")
    part = examples.subset([2, 0])
    assert (part.rows, part.sources, part.labels) == ((ROWS[2], ROWS[0]), ("f:3", "f:1"), ("x10",))
    assert (part.layout, part.layout_reason, part.notes) == (Layout.LABEL, "why", ("note",))
    assert Examples(ROWS, Layout.TEXT, ("",) * 3).labels == ()
    with pytest.raises(ValueError, match="3 rows with 1 sources"):
        Examples(ROWS, Layout.TEXT, ("f:1",))


def test_fingerprints_are_of_content_in_order() -> None:
    one = Examples(ROWS, Layout.LABEL, ("a", "b", "c"))
    assert one.fingerprint == Examples(ROWS, Layout.LABEL, ("x", "y", "z")).fingerprint
    others = [one.subset([0, 2, 1]), one.subset([0, 1]), Examples(ROWS, Layout.TEXT, ("a", "b", "c"))]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4


@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from("0123456789²٣"), max_size=6)))
def test_natural_order_takes_any_text(texts: list[str]) -> None:
    backwards = list(reversed(texts))
    assert sorted(texts, key=natural) == sorted(backwards, key=natural)


def test_natural_order_and_normal_form() -> None:
    assert sorted(["b", "a10", "a2", "10", "2", ""], key=natural) == ["", "2", "10", "a2", "a10", "b"]
    assert normal(" Ｓtraße\n\u00a0ﬁn ") == "strasse fin"


def test_the_room_imports_no_torch() -> None:
    code = ("import sys, scrimp.examples.formats, scrimp.examples.templates, scrimp.examples.splits, "
            "scrimp.examples.leakage, scrimp.examples.batching; "
            "sys.exit(str({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == "set()"
