"""Selectors that ask language models how likely a row is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.scored import Scored
from scrimp.examples.records import Layout
from scrimp.examples.rendering import begins, end_id
from scrimp.examples.templates import Encoded

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Likelihood", "arranged", "bigram_log_probabilities", "totals"]

_PRIOR = 10.0  # tokens for which the shorter context counts, in the language model of pairs
Part = Literal["answer", "prompt"]


class Likelihood(Scored):
    """Score a row by the language model's loss on it, less what the loss should be.

    ``score = L(z | c) - baseline``, in nats a token, where z is the answer and c the prompt, or the other way round.
    The baseline is 0; ``L(z)``, what the loss is without c (Li et al. 2024, "From Quantity to Quality: Boosting LLM
    Performance with Self-Guided Data Selection for Instruction Tuning": IFD is ``exp(score)``; Li et al. 2024,
    "Selective Reflection-Tuning: Student-Selected Data Recycling for LLM Instruction-Tuning": of two versions the one
    with the higher IFD, then the lower r-IFD, in which the answer foretells the prompt); the entropy, which is what the
    loss of the model's own answers would be; or the loss of a reference model, weaker or trained on the pool, so that
    what any model finds easy is worth no more than what none can learn (Gu et al. 2025, "MiniPLM: Knowledge
    Distillation for Pre-Training Language Models"). Without prompt, the part follows a begin or an end token.

    Attributes:
        part: what is predicted, "answer" after its prompt, or "prompt" after its answer.
        against: the baseline: "nothing"; "alone", the part without the other; "samples", the model's own; "reference",
            another model.
        reference: that model's name or folder. None is the pool's own pairs of tokens, each row's without itself.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    part: Part = "answer"
    against: Literal["nothing", "alone", "samples", "reference"] = "nothing"
    reference: str | None = None

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        if pool.layout is Layout.TEXT and (self.part == "prompt" or self.against == "alone"):
            raise OptionError("texts have no prompt that could foretell them", where="layout",
                              fix="give prompts with answers, or choose a method that scores texts")
        loaded = signals.language()
        rows = self._rows(pool, loaded, signals, given=True)
        found = signals.losses(loaded.model, rows)
        tokens = np.maximum([len(row.log_probability) for row in found], 1)
        match self.against:
            case "nothing":
                baseline = np.zeros(len(pool))
            case "alone":
                alone = self._rows(pool, loaded, signals, given=False)
                baseline = totals([row.log_probability for row in signals.losses(loaded.model, alone)])
            case "samples":
                baseline = totals([row.expected for row in found])
            case "reference":
                baseline = self._referred(pool, rows, signals)
        # a reference may cut the same text into other tokens, so whole texts are compared
        return (baseline - totals([row.log_probability for row in found])) / tokens

    def passes(self) -> dict[str, float]:
        twice = self.against == "alone" or (self.against == "reference" and self.reference is not None)
        return {"losses": 1.0 + twice}

    def _rows(self, pool: Examples, loaded: Any, signals: Signals, *, given: bool) -> list[Encoded]:
        begin = begins(loaded.tokenizer) or [end_id(loaded.tokenizer)]
        return [arranged(row, begin, self.part, given=given) for row in signals.encoded(pool, loaded)]

    def _referred(self, pool: Examples, rows: Sequence[Encoded], signals: Signals) -> np.ndarray:
        """What the reference model makes of whole parts, [N]."""
        if self.reference is None:
            return bigram_log_probabilities(rows)
        other = signals.language(self.reference)
        found = signals.losses(other.model, self._rows(pool, other, signals, given=True))
        return totals([row.log_probability for row in found])


def arranged(row: Encoded, begin: Sequence[int], part: Part, *, given: bool) -> Encoded:
    """The row with ``part`` to be predicted: after the rest of the row if that is ``given``, else after ``begin``."""
    if part == "answer" and given:
        return row
    start = len(begin) if row.ids[:len(begin)] == list(begin) else 0
    own = list(zip(row.ids, row.trained, strict=True))[start:]
    answer, prompt = ([token for token, learned in own if learned is wanted] for wanted in (True, False))
    predicted, other = (answer, prompt) if part == "answer" else (prompt, answer)
    before = [*begin, *(other if given else ())]
    return Encoded([*before, *predicted], [False] * len(before) + [True] * len(predicted), row=row.row)


def bigram_log_probabilities(rows: Sequence[Encoded]) -> np.ndarray:
    """Of the trained tokens of each row, under pairs of tokens as the other rows have them; nats, [N].

    ``p(w | v) = (n(v, w) + m p(w)) / (n(v) + m)`` with m = 10, and ``p(w) = (n(w) + 1) / (n + W)``, where n counts in
    the other rows and W is how many tokens differ.
    """
    pairs = np.array([(number, before, token) for number, row in enumerate(rows) for before, token, learned
                      in zip(row.ids, row.ids[1:], row.trained[1:], strict=False) if learned], dtype=np.int64)
    of, before, token = pairs.reshape(-1, 3).T
    words = int(token.max(initial=0)) + 1
    once, twice, context, all_tokens = (_elsewhere(keys, of) for keys in (
        token, before * words + token, before, np.zeros_like(token)))
    single = (once + 1) / (all_tokens + len(np.unique(token)))
    likely = (twice + _PRIOR * single) / (context + _PRIOR)
    return np.bincount(of, np.log(likely), minlength=len(rows))


def _elsewhere(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each place, how often its key stands in other rows."""
    _, place, everywhere = np.unique(keys, return_inverse=True, return_counts=True)
    _, own, here = np.unique(place * (int(rows.max(initial=0)) + 1) + rows, return_inverse=True, return_counts=True)
    return everywhere[place] - here[own]


def totals(rows: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of each array, float64."""
    return np.array([row.sum(dtype=np.float64) for row in rows])


preset("loss", Likelihood, papers=(16,), rule="lowest")
preset("confidence", Likelihood, papers=(15,), against="samples", rule="lowest")
preset("ifd", Likelihood, against="alone")
preset("reflected-prompts", Likelihood, papers=(134,), against="alone", each="answer")
preset("reflected-answers", Likelihood, papers=(134,), part="prompt", against="alone", rule="lowest", each="prompt")
preset("miniplm", Likelihood, papers=(541,), against="reference", rule="lowest")
