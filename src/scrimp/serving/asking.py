"""What a person asks over HTTP as the tokens with which a served model was trained to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scrimp.core.errors import DataError
from scrimp.examples.records import Layout
from scrimp.examples.rendering import begins, has_chat_template, plain_ids
from scrimp.examples.templates import Template
from scrimp.serving.hosting import Served
from scrimp.serving.language import Asked
from scrimp.signals.decoding import end_tokens

__all__ = ["chat_ids", "ends_of", "text_ids"]

_WIDE = 1 << 30  # tokens: nothing is cut silently, what is too long is refused


def chat_ids(served: Served, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The ids of a conversation that the model is to go on with, as its own template writes it.

    A model that was tuned on prompts is asked a single message exactly as it was in training.

    Raises:
        DataError: a conversation that does not end with the user's message, or that the template refuses.
    """
    assert served.host is not None
    if messages[-1]["role"] != "user":
        raise DataError("the last message must be the user's", where="messages")
    own = _template(served)
    with served.host.asking() as tokenizer:
        if own is not None and own.layout in (Layout.PROMPT, Layout.PREFERENCE):
            if len(messages) == 1:
                alone = own.model_copy(update={"max_tokens": _WIDE, "reserve": 0})
                row = {"prompt": messages[0]["content"]}
                return alone.prompt(row, tokenizer, _shown_before(served, row))
            messages = _instructed(messages, own.asking)
        style = own.style if own is not None and own.style in ("chat", "plain") else \
            "chat" if has_chat_template(tokenizer) else "plain"
        talk = Template(layout=Layout.CHAT, style=style, system=own.system if own else None, max_tokens=_WIDE)
        return talk.prompt({"messages": [dict(message) for message in messages]}, tokenizer)


def text_ids(served: Served, text: str) -> list[int]:
    """The ids of a text that the model is to go on with; control tokens that are spelled in it are text.

    Raises:
        DataError: a text that the tokenizer can only take as a control token, or that has no tokens.
    """
    assert served.host is not None
    with served.host.asking() as tokenizer:
        ids = [*begins(tokenizer), *plain_ids(text, tokenizer)]
    if not ids:
        raise DataError("the text has no tokens", where="prompt")
    return ids


def ends_of(served: Served) -> frozenset[int]:
    """The tokens that end an answer."""
    assert served.host is not None
    own = _template(served)
    with served.host.asking() as tokenizer:
        return frozenset([*end_tokens(served.host.loaded), *([own.end(tokenizer)] if own else [])])


def _template(served: Served) -> Template | None:
    return served.predictor.template if isinstance(served.predictor, Asked) else None


def _shown_before(served: Served, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return served.predictor.shown_before([row])[0] if isinstance(served.predictor, Asked) else []


def _instructed(messages: Sequence[Mapping[str, Any]], instruction: str) -> list[dict[str, Any]]:
    """With what the model was trained to read before the first message of the user."""
    found = [dict(message) for message in messages]
    first = next(message for message in found if message["role"] == "user")
    first["content"] = f"{instruction}\n\n{first['content']}" if instruction else first["content"]
    return found
