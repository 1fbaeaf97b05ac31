"""A selector that keeps prompts with the answers that go with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.scored import Scored, answer_text
from scrimp.data.selection.target import directions
from scrimp.examples.records import Layout, input_text

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Agreement"]


class Agreement(Scored):
    """Score a row by the cosine of the embeddings of what it asks and what it answers.

    Of images and captions, embedded by CLIP: Schuhmann et al. 2021, "LAION-400M: Open Dataset of CLIP-Filtered 400
    Million Image-Text Pairs". Here both are texts, and a label is a caption.
    """

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        if pool.layout is Layout.TEXT:
            raise OptionError("texts have no answer that could agree with them", where="layout",
                              fix="give prompts with answers, or texts with labels")
        asked, answered = (directions(signals.embeddings([{"text": part(row)} for row in pool.rows]).astype(np.float64))
                           for part in (input_text, answer_text))
        return (asked * answered).sum(axis=1)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0, "answers": 1.0}


preset("agreement", Agreement)
