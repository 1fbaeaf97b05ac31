"""Rows as tokens: one function for training, evaluation and serving, and the mask of what is learned."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from scrimp.core.errors import DataError, GuardError
from scrimp.core.options import Options
from scrimp.core.workspace import fingerprint
from scrimp.examples.badrows import BadRow, refuse
from scrimp.examples.masks import Inspection, TokenRow, check_ids, check_mask, inspect
from scrimp.examples.records import Examples, Layout, input_text, told_labels
from scrimp.examples.rendering import Style, begins, end_id, has_chat_template, plain_ids, render

__all__ = ["Encoded", "Inspection", "Template", "TokenRow", "check_ids", "check_mask", "inspect"]

_CHARACTERS_A_TOKEN = 100  # text beyond so many characters for each allowed token is cut before it is tokenised
_NAMED_LABELS = 50
_EXPLAIN = "Explain step by step.\n\n"  # stands before a prompt whose rationale is wanted
_PROBES = ("What a good film!", "0 1 2", "naïve 😀 שלום\n\tend ")


@dataclass(frozen=True)
class Encoded:
    """A row as the model sees it.

    Attributes:
        ids: token ids, begin and end tokens included.
        trained: for each token, whether it is to be predicted. A first token has nothing before it and is never
            predicted, whatever stands here.
        target: class number (label layout), else None.
        wanted: the numbers that a head is to say (of a score, itself; of several labels, 1 for each that the row has,
            else 0), else None.
        row: number of the row in what was encoded.
        truncated: whether text was cut to fit.
        second: what belongs to the row beside it: the rejected answer, or the rationale, each after its prompt.
        reference: log-probabilities, in nats, of the answer and of the rejected one under the model that training began
            with; None until an objective that needs them has measured them.
    """

    ids: list[int]
    trained: list[bool]
    target: int | None = None
    row: int = 0
    truncated: bool = False
    second: Encoded | None = None
    reference: tuple[float, float] | None = None
    wanted: tuple[float, ...] | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From its attributes as JSON has them."""
        second, reference, wanted = told["second"], told["reference"], told["wanted"]
        return cls(**{**told, "second": second and cls.of(second), "reference": reference and tuple(reference),
                      "wanted": wanted and tuple(wanted)})

    @property
    def tokens(self) -> int:
        """Tokens of the row, and of what belongs to it."""
        return len(self.ids) + (len(self.second.ids) if self.second else 0)

    @property
    def together(self) -> int:
        """Tokens of the row and of what belongs to it, those that both begin with counted once."""
        if self.second is None:
            return len(self.ids)
        differing = (n for n, (a, b) in enumerate(zip(self.ids, self.second.ids, strict=False)) if a != b)
        return self.tokens - next(differing, min(len(self.ids), len(self.second.ids)))

    @property
    def padded(self) -> int:
        """Tokens that it takes up at least, where everything of a batch is as long as its longest."""
        return 2 * max(len(self.ids), len(self.second.ids)) if self.second else len(self.ids)


class Template(Options):
    """How a row becomes tokens.

    A causal model learns the answer and its end token and nothing else: the completion, the label (see `ends`), or
    every turn of the assistant; of plain text it learns every token. A preference pair is two answers to one prompt; a
    rationale is an answer to the prompt after a request to explain. An encoder (style ``pooled``) reads the text alone
    and learns the label's class number. Too long a prompt is cut at the end of the user's text (of a chat, of the
    longest message that is not the assistant's), an answer never; a document is cut at its end and then has no end
    token.

    Attributes:
        layout: of the rows.
        labels: those of the layouts that have any; a class number is a position in it.
        instruction: stands before a prompt or text; None is none, or for labels a sentence that names them.
        system: system message; a chat's own comes first. None is none.
        style: ``chat`` as the tokenizer's chat template writes, ``plain`` as ``User:``, ``Assistant:``, ``form`` as
            ``Text:``, ``Label:``, ``pooled`` for encoders.
        max_tokens: longest row, in tokens.
        reserve: tokens kept free for a completion when a prompt is cut; for labels the longest label's are, always.
    """

    layout: Layout
    labels: tuple[str, ...] = ()
    instruction: str | None = None
    system: str | None = None
    style: Literal["chat", "plain", "form", "pooled"] = "chat"
    max_tokens: Annotated[int, Field(ge=8)] = 512
    reserve: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _forms_hold_no_chat(self) -> Self:
        if self.style == "form" and self.layout is Layout.CHAT:
            raise ValueError("the style 'form' holds one text and one answer, and a chat has many turns; "
                             "take the style 'chat' or 'plain'")
        if not self.layout.asked and self.style != "pooled":
            raise ValueError(f"no language model is asked for {self.layout.noun}; take the style 'pooled', or the "
                             "layout 'label'")
        return self

    @classmethod
    def for_(cls, tokenizer: Any, examples: Examples, *, instruction: str | None = None, system: str | None = None,
             style: Literal["chat", "plain", "form", "pooled"] | None = None,
             max_tokens: int | None = None) -> Self:
        """The template that suits a tokenizer and examples.

        Where no style is given it is ``pooled`` if the tokenizer marks texts as an encoder's does (a CLS token and no
        chat template), ``form`` for labels, which are scored and not conversed about, ``chat`` if there is a chat
        template, else ``plain``. What is reserved for completions is just enough for those of the given rows that
        would not fit otherwise, and at most half of ``max_tokens``. A text to be labelled is read for 256 tokens if
        nothing else is said, everything else for 1024. Where a score or several labels are wanted, an encoder reads the
        text, as long.
        """
        style, short = style or _suitable(tokenizer, examples.layout), examples.layout.headed
        made = cls.parse({"layout": examples.layout, "labels": examples.labels, "instruction": instruction,
                          "system": system, "style": style,
                          "max_tokens": max_tokens or (256 if short else 1024)},
                         where="template")
        if made.layout not in (Layout.PROMPT, Layout.PREFERENCE) or style == "pooled":
            return made
        return made.model_copy(update={"reserve": made._needed(tokenizer, examples)})

    def encode(self, row: Mapping[str, Any], tokenizer: Any, *, index: int = 0) -> Encoded:
        """The row with its mask; without an answer nothing is trained.

        Raises:
            DataError: if the answer does not fit, the label is unknown or the chat template refuses the row.
            GuardError: if the chat template would have the model trained on what it is not asked later.
        """
        if self.style == "pooled":
            return self.encode_pooled(row, tokenizer, index=index)
        if self.layout is Layout.TEXT:
            return self._document(row["text"], tokenizer, index)
        first, *second = (self._answered(one, tokenizer, index) for one in _sequences(row))
        return replace(first, second=second[0]) if second else first

    def _answered(self, row: Mapping[str, Any], tokenizer: Any, index: int) -> Encoded:
        _, (ids, trained), cut = self._fitted(self._talk(row), tokenizer)
        if len(ids) > self.max_tokens:
            raise DataError(f"the answer does not fit: the row has {len(ids)} tokens of {self.max_tokens} allowed",
                            fix=f"set max_tokens to {len(ids)}, or shorten the answer")
        return Encoded(ids, trained, self._target(row, self.labels), index, cut)

    def encode_all(self, examples: Examples, tokenizer: Any) -> list[Encoded]:
        """Every row, numbered; raises as `encode_each` does."""
        return list(self.encode_each(examples, tokenizer))

    def encode_each(self, examples: Examples, tokenizer: Any) -> Iterator[Encoded]:
        """Every row, numbered, one after the other.

        Raises:
            DataError: in the end, naming all rows that cannot be encoded.
            GuardError: if the template itself is at fault.
        """
        bad, fixes = [], set()
        for index, (row, source) in enumerate(zip(examples.rows, examples.sources, strict=True)):
            try:
                yield self.encode(row, tokenizer, index=index)
            except DataError as error:
                bad.append(BadRow(source, "; ".join(filter(None, (error.what, error.why)))))
                fixes.add(error.fix or "take the row out")
            except GuardError as error:
                raise GuardError(error.what, where=source, why=error.why, fix=error.fix) from None
        if bad:
            raise refuse(bad, len(examples), where="encoding", report=None, fix="; ".join(sorted(fixes)[:3]))

    def encode_pooled(self, row: Mapping[str, Any], tokenizer: Any, labels: Sequence[str] | None = None, *,
                      index: int = 0) -> Encoded:
        """The row's text between the tokenizer's own special tokens, for an encoder; nothing of it is trained.

        Args:
            row: of any layout; its `input_text` is what counts.
            tokenizer: the encoder's.
            labels: None takes the template's.
            index: number of the row.

        Raises:
            DataError: if the label is unknown.
        """
        text = input_text(row)
        kept = text[:_CHARACTERS_A_TOKEN * self.max_tokens]
        ids = tokenizer(kept, split_special_tokens=True, verbose=False)["input_ids"]
        cut = len(kept) < len(text) or len(ids) > self.max_tokens
        if len(ids) > self.max_tokens:
            ids = tokenizer(kept, split_special_tokens=True, truncation=True, max_length=self.max_tokens)["input_ids"]
        known = self.labels if labels is None else labels
        return Encoded(list(ids), [False] * len(ids), self._target(row, known), index, cut,
                       wanted=self._wanted(row, known))

    def prompt(self, row: Mapping[str, Any], tokenizer: Any, shown: Sequence[tuple[str, str]] = ()) -> list[int]:
        """What the model is asked: the ids of `encode` before the first trained one.

        Of a chat that is everything before its first answer; if its last message is not the assistant's, everything,
        earlier answers included. To ask for a later answer give the messages before it.

        Args:
            row: whose answer is wanted.
            tokenizer: the model's.
            shown: questions (labels: texts) and their answers that stand before it, each cut as a row of its own.
        """
        if self.style == "pooled":
            return self.encode_pooled(row, tokenizer, ()).ids
        if self.layout is Layout.TEXT:
            return begins(tokenizer)
        if self.layout is Layout.CHAT and row["messages"][-1]["role"] == "assistant":
            encoded = self.encode(row, tokenizer)
            return encoded.ids[:encoded.trained.index(True)]
        asked, (ids, _), _ = self._fitted(self._talk(row).question(), tokenizer)
        before = [self._fitted(self._asked(text, answer), tokenizer)[0] for text, answer in shown]
        return self._render(self._in_turn([*before, asked]), tokenizer)[0] if shown else ids

    def answers(self, tokenizer: Any) -> dict[str, list[int]]:
        """Each label's trained ids, end token included (label layout)."""
        return {label: list(ids) for label, ids in zip(self.labels, _answers(self, tokenizer, _writing(tokenizer)),
                                                       strict=True)}

    def end(self, tokenizer: Any) -> int:
        """The token that ends an answer: where generation must stop."""
        if self.layout is Layout.TEXT:
            return end_id(tokenizer)
        return self._render(self._asked("a", "a"), tokenizer)[0][-1]

    def shown(self, row: Mapping[str, Any]) -> tuple[str, str]:
        """What a person reads of a row: what is asked, and the answer (empty where there is none)."""
        if self.layout is Layout.CHAT:
            *asked, last = row["messages"]
            target = last["content"] if last["role"] == "assistant" else ""
            asked = asked if last["role"] == "assistant" else row["messages"]
            return "\n".join(f"{m['role']}: {m['content']}" for m in asked), target
        if "score" in row:
            return input_text(row), f"{row['score']:g}"
        if "labels" in row:
            return input_text(row), told_labels(row["labels"])
        return input_text(row), row.get("completion", row.get("label", row.get("chosen", "")))

    def fingerprint(self, tokenizer: Any) -> str:
        """Of the template's options and of what it makes of some probes: equal where it writes the same tokens."""
        def made(text: str) -> list[Any]:
            if self.style == "pooled":
                return self.encode_pooled({"text": text}, tokenizer, ()).ids
            if self.layout is Layout.TEXT:
                return self.encode({"text": text}, tokenizer).ids
            return list(self._render(self._asked(text, "ok"), tokenizer))

        return fingerprint([self.model_dump(mode="json"), [made(text) for text in _PROBES]])

    @property
    def ends(self) -> bool:
        """Whether an answer is closed by the end token.

        The labels of a form are not, unless one begins another: they are scored, never generated, and learning to stop
        after a word where the base model would go on costs it more of what it knew than the task itself.
        """
        return self.style != "form" or any(a != b and b.startswith(a) for a in self.labels for b in self.labels)

    @property
    def asking(self) -> str:
        """The instruction in force; empty where there is none."""
        if self.instruction is not None or self.layout is not Layout.LABEL or self.style == "form":
            return self.instruction or ""
        if len(self.labels) > _NAMED_LABELS:
            return "Classify the text. Answer with its label only."
        return f"Classify the text as one of: {', '.join(self.labels)}. Answer with the label only."

    def _document(self, text: str, tokenizer: Any, index: int) -> Encoded:
        kept = text[:_CHARACTERS_A_TOKEN * self.max_tokens]
        begin = begins(tokenizer)
        ids = [*begin, *plain_ids(kept, tokenizer), end_id(tokenizer)]
        cut = len(kept) < len(text) or len(ids) > self.max_tokens
        if cut:
            ids = ids[:-1][:self.max_tokens]
        return Encoded(ids, [False] * len(begin) + [True] * (len(ids) - len(begin)), None, index, cut)

    def _target(self, row: Mapping[str, Any], labels: Sequence[str]) -> int | None:
        if self.layout is not Layout.LABEL or "label" not in row or not labels:
            return None
        if row["label"] not in labels:
            raise DataError(f"the label '{row['label']}' is none of those that the model knows",
                            why=f"it knows {', '.join(labels[:20])}", fix="train with rows of this label too")
        return list(labels).index(row["label"])

    def _wanted(self, row: Mapping[str, Any], labels: Sequence[str]) -> tuple[float, ...] | None:
        if self.layout is Layout.SCORE and "score" in row:
            return (row["score"],)
        if self.layout is Layout.LABELS and "labels" in row and labels:
            return tuple(float(label in row["labels"]) for label in labels)
        return None

    def _talk(self, row: Mapping[str, Any]) -> _Talk:
        """The row as a conversation."""
        if self.layout is Layout.CHAT:
            own = list(row["messages"])
            if self.system is not None and own[0]["role"] != "system":
                own.insert(0, {"role": "system", "content": self.system})
            others = [n for n, m in enumerate(own) if m["role"] not in ("assistant", "system")]
            longest = max(others, key=lambda n: len(own[n]["content"]), default=None)
            return _Talk(tuple(own), row.get("tools"), longest, 0)
        return self._asked(input_text(row), row.get("completion", row.get("label")))

    def _asked(self, text: str, answer: str | None) -> _Talk:
        head = (f"{self.asking}\n\n" if self.asking else "") + ("Text: " if self.style == "form" else "")
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        user = {"role": "user", "content": head + text}
        answered = [] if answer is None else [{"role": "assistant", "content": answer}]
        return _Talk((*system, user, *answered), None, len(system), len(head))

    def _render(self, talk: _Talk, tokenizer: Any) -> tuple[list[int], list[bool]]:
        style: Style = "plain" if self.style == "pooled" else self.style
        return render(talk.messages, tokenizer, style, talk.tools, ends=self.ends)

    def _in_turn(self, talks: Sequence[_Talk]) -> _Talk:
        """One conversation of several; what stands before all questions stands before the first one alone."""
        said = len(f"{self.asking}\n\n") if self.asking else 0
        first, *later = talks
        turns = [{**message, "content": message["content"][said if message["role"] == "user" else 0:]}
                 for talk in later for message in talk.messages if message["role"] != "system"]
        return replace(first, messages=(*first.messages, *turns))

    def _fitted(self, talk: _Talk, tokenizer: Any) -> tuple[_Talk, tuple[list[int], list[bool]], bool]:
        """With as much of the user's text as fits, its ids and mask, and whether that is less than all of it.

        What is measured is the prompt alone, against a limit that does not depend on the answer, so that the cut is the
        same when the row is asked; of a chat that has its answers it is the whole.
        """
        limit = self._limit(talk, tokenizer)
        most = min(talk.room, _CHARACTERS_A_TOKEN * self.max_tokens)
        measured = talk if self.layout is Layout.CHAT else talk.question()

        def size(room: int) -> int:
            return len(self._render(measured.cut_to(room), tokenizer)[0])

        whole = self._render(talk.cut_to(most), tokenizer)
        if self._measure(whole) <= limit:
            return talk.cut_to(most), whole, most < talk.room
        kept = bisect_right(range(most), limit, key=size) - 1
        if kept <= 0:
            raise DataError(f"the row does not fit into {self.max_tokens} tokens even without the user's text",
                            why=f"{max(limit, 0)} tokens are left for the prompt",
                            fix="raise max_tokens, or shorten the instruction or the answers")
        return talk.cut_to(kept), self._render(talk.cut_to(kept), tokenizer), True

    def _limit(self, talk: _Talk, tokenizer: Any) -> int:
        if self.layout is Layout.LABEL:
            return self.max_tokens - max(map(len, self.answers(tokenizer).values()), default=0)
        answered = self.layout is Layout.CHAT and talk.messages[-1]["role"] == "assistant"
        return self.max_tokens - (0 if answered else self.reserve)

    def _measure(self, rendered: tuple[list[int], list[bool]]) -> int:
        ids, trained = rendered
        return trained.index(True) if any(trained) and self.layout is not Layout.CHAT else len(ids)

    def _needed(self, tokenizer: Any, examples: Examples) -> int:
        """Tokens of the longest completion whose row is too long as it is, as far as it takes half the room at most."""
        needed = 0
        for row in chain.from_iterable(map(_sequences, examples.rows)):
            talk = self._talk(row).cut_to(_CHARACTERS_A_TOKEN * self.max_tokens)
            try:
                ids, trained = self._render(talk, tokenizer)
            except DataError:  # `encode` will say what is wrong with that row, and where it stands
                continue
            if len(ids) > self.max_tokens and sum(trained) <= self.max_tokens // 2:
                needed = max(needed, sum(trained))
        return needed


@dataclass(frozen=True)
class _Talk:
    """A conversation, and which message may be shortened.

    Attributes:
        messages: in order.
        tools: for the chat template.
        cut: position of the message that may be shortened at its end, or None.
        head: characters at that message's beginning that stay.
    """

    messages: tuple[Mapping[str, Any], ...]
    tools: Sequence[Any] | None
    cut: int | None
    head: int

    @property
    def room(self) -> int:
        """Characters that may be cut away."""
        return 0 if self.cut is None else len(self.messages[self.cut]["content"]) - self.head

    def cut_to(self, room: int) -> _Talk:
        """With only so many of those characters."""
        if self.cut is None or room >= self.room:
            return self
        message = self.messages[self.cut]
        short = {**message, "content": message["content"][:self.head + room]}
        return replace(self, messages=(*self.messages[:self.cut], short, *self.messages[self.cut + 1:]))

    def question(self) -> _Talk:
        """Without the answer that it ends with."""
        return replace(self, messages=self.messages[:-1]) if self.messages[-1]["role"] == "assistant" else self


def _sequences(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The row, and what belongs to it, as prompts with one answer each; whatever has one answer stays as it is."""
    if "rejected" in row:
        return [{"prompt": row["prompt"], "completion": row[key]} for key in ("chosen", "rejected")]
    if "rationale" in row:
        return [row, {"prompt": _EXPLAIN + row["prompt"], "completion": row["rationale"]}]
    return [row]


def _suitable(tokenizer: Any, layout: Layout) -> Literal["chat", "plain", "form", "pooled"]:
    """The style in which rows of ``layout`` are best put to a tokenizer's model."""
    chats = has_chat_template(tokenizer)
    if not layout.asked:
        return "pooled"
    if not chats and getattr(tokenizer, "cls_token_id", None) is not None:
        return "pooled"
    if layout is Layout.LABEL:
        return "form"
    return "chat" if chats else "plain"


def _writing(tokenizer: Any) -> tuple[Any, int]:
    """What the answers depend on beside the template and the tokenizer's identity."""
    return getattr(tokenizer, "chat_template", None), len(tokenizer)


@lru_cache(maxsize=16)
def _answers(template: Template, tokenizer: Any, writing: tuple[Any, int]) -> tuple[tuple[int, ...], ...]:
    found = []
    for label in template.labels:
        ids, trained = template._render(template._asked("a", label), tokenizer)
        found.append(tuple(token for token, learned in zip(ids, trained, strict=True) if learned))
    if len(set(found)) < len(found):
        raise DataError("two labels have the same tokens", where="labels", fix="rename one of them")
    return tuple(found)
