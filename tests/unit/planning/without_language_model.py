"""Runs of `fit` on rows that no language model is asked about: scores, and several labels a text."""

import pytest

import scrimp
from scrimp.planning import rungs

NO_MODEL = "there-is/no-such-model"
EVERY = ["constant", "word-counts", "frozen-features", "features-and-words", "tuned-encoder", "blend"]


def climbed(folder, encoder, train, test):
    """What `fit` finds with time for every way; the encoder is tuned for three epochs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rungs, "_ENCODER_ROW_VISITS", 1)
        return scrimp.fit(train, test=test, model=NO_MODEL, encoder=str(encoder), budget="30m", out=folder / "run",
                          workspace=folder / "space")


def assert_every_way(outcome):
    """Every way was tried, and none left out."""
    assert [rung.name for rung in outcome.rungs] == EVERY
    assert [rung.kind for rung in outcome.rungs] == ["control"] * 4 + ["adapted", "blend"]
    assert all(rung.skipped is None for rung in outcome.rungs)
