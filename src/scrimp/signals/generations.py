"""What a language model says to prompts: asked once, kept by model, settings and prompt, and billed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from pydantic import Field

from scrimp.checkpoints.loading import Loaded
from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.errors import BudgetError, DataError, ModelError
from scrimp.core.ledger import Ledger
from scrimp.core.options import Options
from scrimp.core.progress import bar
from scrimp.core.workspace import Workspace, fingerprint
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template
from scrimp.signals.decoding import Draws, generate

__all__ = ["Answer", "Generations", "LocalModel", "Question", "SamplingOptions", "Speaker"]

_FILE = "answers.jsonl"
_BATCH_TOKENS = 8192  # padded tokens of a batch, new ones included: a weight that is read serves all its rows
_UNCUT = 1 << 20  # tokens of a prompt that a template may write: what is too long is refused and not cut


class SamplingOptions(Options):
    """How answers are drawn.

    Attributes:
        max_tokens: of an answer.
        temperature: 0 takes the most probable token each time.
        top_p: tokens are drawn from the most probable ones that have so much probability together.
        seed: of every draw.
    """

    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    def deciding(self) -> dict[str, Any]:
        """Those that decide an answer."""
        return self.model_dump(include=None if self.temperature else {"max_tokens", "temperature"})


@dataclass(frozen=True)
class Question:
    """A prompt, and the seed of its answer, which follows from the prompt, the settings' seed and the draw."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Answer:
    """A text, and the tokens that were read and written for it."""

    text: str
    prompt_tokens: int
    completion_tokens: int


Tell = Callable[[Mapping[int, Answer]], None]


class Speaker(Protocol):
    """Somebody who answers prompts."""

    def identity(self) -> Any:
        """What decides the answers beside prompts and settings, as JSON; it is written down."""

    def most(self, prompt: str) -> int:
        """Tokens that are read, at most, of a prompt."""

    def ask(self, questions: Sequence[Question], sampling: SamplingOptions, tell: Tell) -> None:
        """Answer all questions; ``tell`` is given the answers by place, as soon as they are there, and may raise."""


class Generations:
    """A function from prompts to texts, which asks nothing twice.

    What was answered is kept under the speaker, the settings and the prompt, each answer on its own: after a kill, or
    where a budget or a person ended it, the same call asks for the rest alone. Where a prompt stands several times in
    one call, each has a draw of its own; the first of them is that of a prompt that stands alone.

    Args:
        speaker: who is asked; may give way to another of the same identity, such as one that tries more often.
        sampling: how answers are drawn.
        workspace: keeps answers beyond this process; one process at a time asks the same speaker.
        meter: whose budget of teacher tokens is obeyed, and what is charged; what was kept costs nothing.
    """

    def __init__(self, speaker: Speaker, sampling: SamplingOptions | None = None, *,
                 workspace: Workspace | None = None, meter: Meter | None = None) -> None:
        self.speaker, self._sampling = speaker, sampling or SamplingOptions()
        self._workspace, self._meter = workspace, meter or Meter()
        self._answers: dict[str, Answer] = {}
        self._read = 0  # bytes of the file whose answers are known

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """A text for each prompt.

        Raises:
            BudgetError: the budget of teacher tokens, or of time, does not suffice for all; see `known`.
            Stopped: a person asked to stop.
        """
        asked = self._asked(prompts)
        with self._kept() as keep:
            self._ask({key: question for key, question in asked if key not in self._answers}, keep)
        return [self._answers[key].text for key, _ in asked]

    def known(self, prompts: Sequence[str]) -> list[str | None]:
        """A text for each prompt that was answered, None for the others; nobody is asked."""
        with self._kept():
            return [found.text if (found := self._answers.get(key)) else None for key, _ in self._asked(prompts)]

    def _asked(self, prompts: Sequence[str]) -> list[tuple[str, Question]]:
        """The question of each prompt, and the key of its answer."""
        draws, asked = Counter[str](), []
        for prompt in prompts:
            told = [prompt, draws[prompt]]
            seed = int(fingerprint([self._sampling.seed, *told])[:8], 16) >> 1  # 31 bits: some servers take no more
            asked.append((fingerprint(told)[:32], Question(prompt, seed)))
            if self._sampling.temperature:
                draws[prompt] += 1
        return asked

    def _ask(self, left: dict[str, Question], keep: Callable[[str, Answer], None]) -> None:
        """Ask for what the budget allows for certain, and with what that leaves of it again."""
        wanted = len(left)
        with bar("asking", wanted) as shown:
            while left:
                keys = self._affordable(left, wanted)

                def tell(answers: Mapping[int, Answer], keys: list[str] = keys) -> None:
                    for place, answer in answers.items():
                        keep(keys[place], answer)
                        del left[keys[place]]
                        self._meter.charge_teacher(answer.prompt_tokens, answer.completion_tokens)
                    shown.advance(len(answers))
                    interrupts.stop_if_requested()
                    if self._meter.remaining_s() <= 0:
                        raise _spent("the time is over", len(left), wanted)

                self.speaker.ask([left[key] for key in keys], self._sampling, tell)

    def _affordable(self, left: Mapping[str, Question], wanted: int) -> list[str]:
        """Of the first questions those that the teacher tokens suffice for, whatever is answered."""
        tokens, keys, need = self._meter.teacher_tokens_left(), list[str](), 0
        if math.isinf(tokens):
            return list(left)
        for key, question in left.items():
            need = self.speaker.most(question.prompt) + self._sampling.max_tokens
            if need > tokens:
                break
            tokens -= need
            keys.append(key)
        if not keys:
            raise _spent(f"{tokens:.0f} teacher tokens are left, the next answer may take {need}", len(left), wanted)
        return keys

    @contextmanager
    def _kept(self) -> Iterator[Callable[[str, Answer], None]]:
        """Within the block no other process asks; gives what keeps an answer."""
        if self._workspace is None:
            yield self._answers.__setitem__
            return
        question = [self.speaker.identity(), self._sampling.deciding()]
        folder = self._workspace.step("generations", question, lambda _: None)  # marked as finished: answers are added
        ledger = Ledger(folder / _FILE)

        def keep(key: str, answer: Answer) -> None:
            ledger.write("answer", key=key, **vars(answer))
            self._answers[key] = answer

        with self._workspace.alone(folder.name):
            if _size(ledger) != self._read:
                self._answers |= dict(_answers(ledger))
            try:
                yield keep
            finally:
                self._read = _size(ledger)


def _size(ledger: Ledger) -> int:
    return ledger.path.stat().st_size if ledger.path.exists() else 0


def _answers(ledger: Ledger) -> Iterator[tuple[str, Answer]]:
    """What was written down; a line that is damaged is asked for again."""
    for event in ledger.read("answer"):
        match event:
            case {"key": str(key), "text": str(text), "prompt_tokens": int(read), "completion_tokens": int(written)}:
                yield key, Answer(text, read, written)


def _spent(what: str, left: int, wanted: int) -> BudgetError:
    return BudgetError(f"{what}: {left} of {wanted} prompts are not answered",
                       fix="declare a larger budget; what was answered is kept, and asked no more")


@dataclass(frozen=True)
class LocalModel:
    """A causal model of this machine, asked as its tokenizer's chat template writes, or plainly without one.

    Attributes:
        loaded: the model.
        weights: a hash of its weights.
        meter: charged with its passes.
    """

    loaded: Loaded
    weights: str
    meter: Meter | None = None

    def __post_init__(self) -> None:
        if self.loaded.kind != "causal":
            raise ModelError("an encoder says nothing", where=self.loaded.checkpoint.name, fix="give a causal model")

    @cached_property
    def _template(self) -> Template:
        nothing = Examples((), Layout.PROMPT, ())
        return Template.for_(self.loaded.tokenizer, nothing, max_tokens=_UNCUT)

    def identity(self) -> Any:
        """Hashes of the weights and of the template, and the dtype."""
        return {"weights": self.weights, "dtype": self.loaded.dtype,
                "template": self._template.fingerprint(self.loaded.tokenizer)}

    def most(self, prompt: str) -> int:
        """Tokens of the prompt, the template's included."""
        return len(self._ids(prompt))

    def ask(self, questions: Sequence[Question], sampling: SamplingOptions, tell: Tell) -> None:
        """Raises: DataError: a prompt and an answer are longer than what the model reads."""
        prompts = [self._ids(question.prompt) for question in questions]
        self._check(prompts, questions, sampling.max_tokens)
        draws = Draws(sampling.temperature, sampling.top_p, [question.seed for question in questions])

        def told(new: Mapping[int, list[int]]) -> None:
            texts = {i: str(self.loaded.tokenizer.decode(ids, skip_special_tokens=True)) for i, ids in new.items()}
            tell({i: Answer(texts[i], len(prompts[i]), min(len(ids) + 1, sampling.max_tokens))  # with its end token
                  for i, ids in new.items()})

        generate(self.loaded, prompts, max_new_tokens=sampling.max_tokens, micro_tokens=_BATCH_TOKENS, tell=told,
                 stop=[self._template.end(self.loaded.tokenizer)], draws=draws if sampling.temperature else None,
                 meter=self.meter)

    def _ids(self, prompt: str) -> list[int]:
        return self._template.prompt({"prompt": prompt}, self.loaded.tokenizer)

    def _check(self, prompts: Sequence[Sequence[int]], questions: Sequence[Question], new: int) -> None:
        most = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        for ids, question in zip(prompts, questions, strict=True):
            if most and len(ids) + new > most:
                raise DataError(f"the prompt has {len(ids)} tokens, its answer may have {new}, the model reads {most}",
                                where=f"'{question.prompt[:60]}'", fix="shorten the prompt, or set max_tokens lower")
