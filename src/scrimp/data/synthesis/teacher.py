"""A teacher writes more of what a student gets wrong."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import Cost, preset
from scrimp.data.synthesis.base import KEYS, LanguageModel, Writer, require
from scrimp.examples.records import Examples, input_text, normal

__all__ = ["Student", "Teacher"]

Answering = Callable[[Sequence[Mapping[str, Any]]], Sequence[str]]  # rows -> what the student says of each
Student = Callable[[Examples], Answering]  # trains on examples, from the base each time


class Teacher(Writer):
    """Ask a language model for examples like those that a student gets wrong, and train on them too.

    A round of `grow`: the student is trained from its base on all examples so far, asked the seeds, and for each seed
    that it gets wrong the teacher writes new examples like it. Only seeds are ever shown to the teacher, so that its
    errors do not feed on themselves; what is too like something that is there (ROUGE-L above ``novelty``) is dropped.
    Lee et al. 2024, "LLM2LLM: Boosting LLMs with Novel Iterative Data Enhancement".

    The teacher is any function from prompts to texts. It is shown the seed as JSON and asked for a line of JSON.

    Attributes:
        targets: which seeds are shown: "errors", or as many by "chance" (the control).
        rounds: of training and writing.
        each: new examples for a seed and round.
        novelty: the ROUGE-L above which two inputs are alike.
    """

    targets: Literal["errors", "chance"] = "errors"
    rounds: int = Field(default=3, ge=1)
    each: int = Field(default=1, ge=1)
    novelty: float = Field(default=0.85, gt=0, le=1)

    def write(self, seeds: Examples, count: int, *, llm: LanguageModel | None = None, seed: int = 0) -> Examples:
        if llm is None:
            raise OptionError("a language model is needed to write examples", where="llm",
                              fix="give a function from prompts to texts")
        require(seeds, *KEYS)
        order = np.random.default_rng(seed).permutation(len(seeds)).tolist()
        asked = [order[i % len(order)] for i in range(count)]
        answers = llm([_prompt(seeds[row], seeds, number) for number, row in enumerate(asked)])
        rows, sources, known = [], [], _Known(seeds, self.novelty)
        for row, answer in zip(asked, answers, strict=True):
            made = _parsed(answer, seeds)
            if made is not None and known.adds(input_text(made)):
                rows.append(made)
                sources.append(f"{seeds.sources[row]} (written)")
        lost = count - len(rows)
        notes = (f"{lost} of {count} answers of the teacher were no example, or nothing new",) if lost else ()
        return Examples(tuple(rows), seeds.layout, tuple(sources), "written by the teacher", notes)

    def grow(self, seeds: Examples, *, student: Student, llm: LanguageModel, seed: int = 0) -> Examples:
        """``seeds`` and, after them, what the teacher wrote over all rounds.

        Args:
            seeds: with their answers.
            student: trains on examples, from its base, and returns a function that answers rows.
            llm: the teacher.
            seed: of every random choice.
        """
        known, rng = seeds, np.random.default_rng(seed)
        for _ in range(self.rounds):
            said = student(known)(seeds.rows)
            wrong = [i for i, (row, answer) in enumerate(zip(seeds.rows, said, strict=True)) if not _right(row, answer)]
            if not wrong:
                break
            shown = wrong if self.targets == "errors" else rng.permutation(len(seeds))[:len(wrong)].tolist()
            new = self.write(seeds.subset(shown), self.each * len(wrong), llm=llm, seed=int(rng.integers(2**31)))
            known = _together(known, _unlike(new, known, self.novelty))
        return known

    def cost(self) -> Cost:
        return Cost(calls=1)


def _prompt(row: Mapping[str, Any], seeds: Examples, number: int) -> str:
    keys = KEYS[seeds.layout]
    shown = json.dumps({key: row[key] for key in keys}, ensure_ascii=False)
    labels = f" The label is one of: {', '.join(seeds.labels)}." if seeds.labels else ""
    named = " and ".join(f'"{key}"' for key in keys)
    return (f"Here is an example as JSON:\n{shown}\nWrite variation {number + 1}: another example of the same kind and "
            f"difficulty, with other content, and with the right answer.{labels} Answer with one line of JSON with "
            f"the keys {named} and nothing else.")


def _parsed(answer: str, seeds: Examples) -> dict[str, str] | None:
    """The first line that is an example of the seeds' layout, with one of their labels; None if there is none."""
    keys = KEYS[seeds.layout]
    for line in str(answer).splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and all(isinstance(found.get(key), str) and found[key].strip() for key in keys):
            row = {key: found[key] for key in keys}
            return row if row.get("label") is None or row["label"] in seeds.labels else None
    return None


def _right(row: Mapping[str, Any], answer: str) -> bool:
    return normal(str(answer)) == normal(str(row.get("label", row.get("completion"))))


class _Known:
    """Texts, and whether another one is new beside them.

    Two are alike if they are the same, or if the longest common subsequence of their words is too large a part of both
    (ROUGE-L). It is never longer than the words that they share, so that most pairs need not be compared.
    """

    def __init__(self, examples: Examples, most: float) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        self._scorer, self._most = RougeScorer(["rougeL"]), most
        self._texts: dict[str, Counter[str]] = {}
        for row in examples.rows:
            self._texts[normal(input_text(row))] = _words(input_text(row))

    def adds(self, text: str) -> bool:
        """Whether the text is new; then it is known."""
        words = _words(text)
        if normal(text) in self._texts:
            return False
        if self._most < 1 and any(self._near(text, words, *other) for other in self._texts.items()):
            return False
        self._texts[normal(text)] = words
        return True

    def _near(self, text: str, words: Counter[str], other: str, others: Counter[str]) -> bool:
        bound = 2 * (words & others).total() / max(1, words.total() + others.total())
        return bound > self._most and self._scorer.score(other, text)["rougeL"].fmeasure > self._most


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z0-9]+", normal(text)))


def _unlike(new: Examples, known: Examples, most: float) -> Examples:
    """Those of ``new`` that are not too like what is known."""
    texts = _Known(known, most)
    return new.subset(i for i, row in enumerate(new.rows) if texts.adds(input_text(row)))


def _together(first: Examples, second: Examples) -> Examples:
    return replace(first, rows=[*first.rows, *second.rows], sources=[*first.sources, *second.sources],
                   notes=first.notes + second.notes)


preset("llm2llm", Teacher, papers=(6,))
preset("teacher-at-random", Teacher, targets="chance")
