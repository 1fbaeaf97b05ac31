"""Messages as token ids, with a mark on those that are to be learned.

A conversation is rendered piece by piece: what stands before an answer, the answer with its end token, what stands
before the next one. Each piece is tokenised by itself and the ids are joined, so that what a model is trained on
begins, token for token, with what it is asked later. What a person wrote can hold the text of a control token, such as
``<|im_end|>``: there it is tokenised as the text that it is and never becomes the control token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from scrimp.core.errors import DataError, GuardError

__all__ = ["Style", "begins", "end_id", "has_chat_template", "plain_ids", "render"]

Style = Literal["chat", "plain", "form"]
_PRIVATE = range(0xE000, 0xF900)  # characters that Unicode leaves to private use


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer knows how a conversation is written."""
    return bool(getattr(tokenizer, "chat_template", None))


def plain_ids(text: str, tokenizer: Any) -> list[int]:
    """The ids of the text as text: nothing added, and no control token even where the text spells one.

    Raises:
        DataError: if the tokenizer makes a control token of it nevertheless.
    """
    ids = list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])
    # a tokenizer without byte fallback may answer with its special unknown token, which controls nothing
    controls = set(_traits(tokenizer).ids) - {getattr(tokenizer, "unk_token_id", None)}
    if not controls.isdisjoint(ids):
        raise DataError("the text spells a control token that this tokenizer cannot take as text",
                        why=f"one of {', '.join(_traits(tokenizer).texts[:10])}", fix="take it out of the text")
    return ids


def begins(tokenizer: Any) -> list[int]:
    """The ids that the tokenizer puts before every text: its begin token, or nothing."""
    return list(_traits(tokenizer).begin)


def end_id(tokenizer: Any) -> int:
    """The tokenizer's own end token, which plain answers and documents end with.

    Raises:
        GuardError: if it has none.
    """
    found = getattr(tokenizer, "eos_token_id", None)
    if found is None:
        raise GuardError("the tokenizer has no end token, so that the model would never learn to stop",
                         fix="use a causal language model's tokenizer")
    return int(found)


def render(messages: Sequence[Mapping[str, Any]], tokenizer: Any, style: Style,
           tools: Sequence[Any] | None = None, *, ends: bool = True) -> tuple[list[int], list[bool]]:
    """Ids of a conversation, and which are to be learned: every answer of the assistant with its end token.

    A conversation that ends with another's message ends with the beginning of the assistant's next turn.

    Args:
        messages: with ``role`` and ``content``; at least one.
        tokenizer: any with ``__call__`` and, for ``chat``, ``apply_chat_template``.
        style: ``chat`` writes as the tokenizer's chat template does, ``plain`` as ``User:``, ``Assistant:``, ``form``
            as what was asked and ``Label:``.
        tools: handed to the chat template.
        ends: whether the answer to a form is closed by the end token.

    Raises:
        GuardError: if the template contradicts itself or gives an answer no end token.
        DataError: if the template refuses the conversation.
    """
    hidden = _Hidden([*messages, *(tools or [])], tokenizer)
    safe, safe_tools = hidden.hide(list(messages)), hidden.hide(list(tools)) if tools else None
    if style == "chat":
        ids, pieces = [], _chat_pieces(safe, safe_tools, tokenizer)
    else:
        ids = begins(tokenizer)
        pieces = _plain_pieces(safe, tokenizer) if style == "plain" else _form_pieces(safe, tokenizer, ends)
    trained = [False] * len(ids)
    for text, learned in pieces:
        piece = hidden.ids(text)
        ids += piece
        trained += [learned] * len(piece)
    return ids, trained


@dataclass(frozen=True)
class _Traits:
    """What is asked of a tokenizer again and again: its control tokens, and what it puts before a text."""

    texts: tuple[str, ...]
    ids: tuple[int, ...]
    pattern: re.Pattern[str]
    begin: tuple[int, ...]


def _traits(tokenizer: Any) -> _Traits:
    return _traits_of(tokenizer, len(tokenizer))


@lru_cache(maxsize=16)
def _traits_of(tokenizer: Any, size: int) -> _Traits:
    """Of the tokenizer while it has that many tokens."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)} - {""}
    texts = tuple(sorted(special, key=lambda text: (-len(text), text)))
    pattern = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
    begin, first = getattr(tokenizer, "bos_token_id", None), tokenizer("a", verbose=False)["input_ids"][:1]
    return _Traits(texts, tuple(tokenizer.convert_tokens_to_ids(list(texts))), pattern,
                   (int(begin),) if begin is not None and list(first) == [begin] else ())


class _Hidden:
    """Control tokens spelt in what a person wrote, each replaced by a place holder that no one wrote.

    Args:
        written: all that a person wrote; decides which character is free to mark the place holders.
        tokenizer: whose control tokens.
    """

    def __init__(self, written: Any, tokenizer: Any) -> None:
        self._tokenizer, self._traits, self._spelt = tokenizer, _traits(tokenizer), list[str]()
        used = {character for text in _texts(written) for character in text if ord(character) in _PRIVATE}
        mark = next((chr(code) for code in _PRIVATE if chr(code) not in used), None)
        if mark is None:
            raise DataError("the text uses every private-use character there is", fix="take them out of the text")
        self._mark = mark

    def hide(self, value: Any) -> Any:
        """The value, however nested, with place holders."""
        if isinstance(value, str):
            return self._traits.pattern.sub(self._holder, value)
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(inner) for key, inner in value.items()}
        return [self.hide(inner) for inner in value] if isinstance(value, list | tuple) else value

    def ids(self, text: str) -> list[int]:
        """The ids of rendered text: the template's control tokens are such, the hidden ones are text."""
        ids: list[int] = []
        for n, part in enumerate(re.split(f"{self._mark}([0-9]+){self._mark}", text)):
            if n % 2:
                ids += plain_ids(self._spelt[int(part)], self._tokenizer)
            elif part:
                ids += self._tokenizer(part, add_special_tokens=False, split_special_tokens=False,
                                       verbose=False)["input_ids"]
        return ids

    def _holder(self, found: re.Match[str]) -> str:
        self._spelt.append(found[0])
        return f"{self._mark}{len(self._spelt) - 1}{self._mark}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _chat_pieces(messages: list[dict[str, Any]], tools: list[Any] | None, tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """Text of each piece, and whether it is learned; what follows the last answer's end token is left out."""
    done = ""
    for n, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _written(messages[:n], tools, tokenizer, asks=True)
        after = _written(messages[:n + 1], tools, tokenizer, asks=False)
        _check_growth(done, before)
        _check_growth(before, after)
        end = _end_of_answer(after, len(before), tokenizer)
        yield before[len(done):], False
        yield after[len(before):end], True
        done = after[:end]
    if messages[-1]["role"] != "assistant":
        asked = _written(messages, tools, tokenizer, asks=True)
        _check_growth(done, asked)
        yield asked[len(done):], False


def _check_growth(shorter: str, longer: str) -> None:
    if not longer.startswith(shorter):
        raise GuardError("the chat template writes a conversation's beginning differently once it goes on",
                         why="what is trained would differ from what is asked later",
                         fix="give each row one answer only, its last message")


def _end_of_answer(text: str, start: int, tokenizer: Any) -> int:
    """Where the answer that begins at ``start`` ends: behind the last control token, its end token."""
    found = [match.end() for match in _traits(tokenizer).pattern.finditer(text, start)]
    if not found:
        raise GuardError("the chat template ends an answer with no end token",
                         why="the model would never learn to stop",
                         fix="use the plain style, or a tokenizer whose template writes an end token")
    return found[-1]


def _written(messages: list[dict[str, Any]], tools: list[Any] | None, tokenizer: Any, *, asks: bool) -> str:
    if not messages:
        raise DataError("the conversation begins with the assistant", fix="begin it with a user's message")
    try:
        return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=asks)
    except Exception as error:  # a template is a program that came with the model and may raise anything
        raise DataError("the model's chat template refuses this conversation", why=str(error)[:300],
                        fix="see which roles and orders of messages the model knows") from None


def _plain_pieces(messages: list[dict[str, Any]], tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """As ``User:``, a line break and the text, with an empty line between turns."""
    end = tokenizer.convert_ids_to_tokens(end_id(tokenizer))
    before = ""
    for message in messages:
        if message["role"] == "assistant":
            yield f"{before}Assistant:\n", False
            yield message["content"] + end, True
            before = "\n\n"
        else:
            before += f"{message['role'].capitalize()}:\n{message['content']}\n\n"
    if messages[-1]["role"] != "assistant":
        yield f"{before}Assistant:\n", False


def _form_pieces(messages: list[dict[str, Any]], tokenizer: Any, ends: bool) -> Iterator[tuple[str, bool]]:
    """As a form to fill in: what is asked, then ``Label:`` and the answer on the same line."""
    end = tokenizer.convert_ids_to_tokens(end_id(tokenizer)) if ends else ""
    before: list[str] = []
    answered = False
    for message in messages:
        if message["role"] != "assistant":
            before.append(message["content"])
            continue
        yield "\n\n" * answered + "\n\n".join(before) + "\nLabel:", False
        yield f" {message['content']}{end}", True
        before, answered = [], True
    if before:
        yield "\n\n" * answered + "\n\n".join(before) + "\nLabel:", False
