"""General rows among those of a domain: the share, and the choice among shares."""

from __future__ import annotations

import pytest

from scrimp.core.errors import DataError
from scrimp.core.registry import build
from scrimp.data.mixing import Domains, most_general


def test_a_quarter_is_general_throughout_unless_another_share_is_said():
    known = Domains({"law": 10, "web": 60, "news": 30}, 40, 320)
    for options, share in (({}, 0.75), ({"shares": (0.5,)}, 0.5)):
        mix = build("mixing", "general-quarter", {"favoured": "law", **options})
        for step in (0, 39):
            found = mix.weights(step, signals=known)
            assert found["law"] == pytest.approx(share)
            assert found["web"] == pytest.approx(2 * found["news"])


def test_the_largest_share_within_the_margin_is_taken():
    losses = {0.0: 2.0, 0.25: 2.03, 0.5: 2.05, 0.75: 3.0}
    assert most_general(losses) == 0.25
    assert most_general(losses, margin=0.03) == 0.5
    assert most_general(losses, margin=0.0) == 0.0


@pytest.mark.parametrize("losses", [{}, {0.0: float("nan")}, {0.0: 0.0}])
def test_losses_that_are_none_are_refused(losses):
    with pytest.raises(DataError):
        most_general(losses)
