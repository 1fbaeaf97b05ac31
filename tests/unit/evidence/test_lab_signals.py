"""What the lab's models show of rows."""

import numpy as np

from scrimp.evidence import Lab
from scrimp.examples.formats import read


def test_signals_are_of_the_model_that_was_given_and_on_the_bill():
    lab, rows = Lab(0), read([{"text": "one two three"}, {"text": "four"}])
    first, other = (lab.signals(Lab(seed).scratch(layers=1, width=32)) for seed in (0, 1))
    assert first.language().dtype == "float32"
    assert first.states(rows).shape == (2, 32)
    assert lab.meter.bill().tokens_forward == sum(len(row.ids) for row in first.encoded(rows))
    assert not np.allclose(first.states(rows), other.states(rows))
