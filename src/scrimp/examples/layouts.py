"""Which layout rows have, told by the names of their fields, and rows brought to that layout's keys.

`NAMES` is the documentation of what is understood: for each key the names it goes by, the first that is there wins.
Case, spaces and hyphens in names do not matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scrimp.core.errors import OptionError, nearest
from scrimp.examples.decoding import unusable
from scrimp.examples.jsontext import Flaw, json_value
from scrimp.examples.records import Layout, natural

__all__ = ["ADDED", "KEYS", "NAMES", "Plan", "Unusable", "given", "guess_labels", "guess_score", "guess_two", "infer",
           "made", "nearly_all", "numbers", "planned", "theirs"]

ADDED = "scrimp_"  #: how fields are named that were added to rows; they tell nothing of the layout

_PROMPTS = ("prompt", "instruction", "question", "query", "input")
_TEXTS = ("text", "content", "document", "sentence", "review", "body", "comment", "message", "tweet", "post", "article",
          "passage", "utterance", "headline", "title")

_LABELS = ("label", "category", "class", "target", "sentiment", "intent", "topic")

#: the names that each key goes by
NAMES: dict[str, tuple[str, ...]] = {
    "text": _TEXTS,
    "label": _LABELS,
    "labels": ("labels", "tags", "categories", "topics", "genres"),
    "score": ("score", "rating", "stars", "grade", "value", "y", *_LABELS),
    "prompt": _PROMPTS,
    "context": ("input", "context"),
    "completion": ("completion", "response", "answer", "output"),
    "rationale": ("rationale",),
    "messages": ("messages", "conversations", "conversation"),
    "tools": ("tools",),
    "system": ("system",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
}
#: the keys of each layout: those it must have, and those it may have
KEYS: dict[Layout, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Layout.PREFERENCE: (("prompt", "chosen", "rejected"), ()),
    Layout.CHAT: (("messages",), ("tools", "system")),
    Layout.PROMPT: (("prompt", "completion"), ("context", "rationale")),
    Layout.LABEL: (("text", "label"), ()),
    Layout.TEXT: (("text",), ()),
    Layout.LABELS: (("text", "labels"), ()),
    Layout.SCORE: (("text", "score"), ()),
}
_TARGETS = ("completion", "label", "labels", "score", "chosen", "rejected")
_LOOSE = {"text": _PROMPTS, "prompt": _TEXTS}
_ROLES = {"system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
          "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant", "tool": "tool",
          "function": "tool", "observation": "tool"}
_KEPT = ("name", "tool_calls", "tool_call_id", "reasoning_content")
_MAX_DEPTH = 64
_FEW_LABELS = 50
_NEARLY_ALL = 0.9  # of the values of a column of numbers; the others are errors of their rows
_MOST = 1e100  # of a score, whose square is taken
_PARTED = re.compile(r"[;|]")  # labels that stand in one text
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Unusable(Exception):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Plan:
    """Which field holds which key of the layout.

    Attributes:
        columns: key -> field.
    """

    layout: Layout
    columns: Mapping[str, str]

    @property
    def words(self) -> str:
        """Such as ``label: 'sentence' (text), 'class' (label)``."""
        return f"{self.layout}: " + ", ".join(f"'{name}' ({key})" if name != key else f"'{name}'"
                                              for key, name in self.columns.items())


def infer(fields: Sequence[str], *, require_target: bool) -> Plan | None:
    """The layout that the field names tell, the most specific one first; None if they tell none."""
    tries = [planned(Layout.PREFERENCE, fields), planned(Layout.CHAT, fields), planned(Layout.PROMPT, fields),
             planned(Layout.LABEL, fields, loose=True), planned(Layout.PROMPT, fields, loose=True),
             planned(Layout.TEXT, fields)]
    if not require_target:
        tries.append(planned(Layout.PROMPT, fields, require_target=False))
    return next((plan for plan in tries if plan), None)


def planned(layout: Layout, fields: Sequence[str], *, require_target: bool = True, loose: bool = False) -> Plan | None:
    """How rows with these fields have that layout, or None.

    Args:
        layout: the layout.
        fields: their names.
        require_target: whether completion or label must be there.
        loose: whether a text may go by a prompt's names, and a prompt by a text's.
    """
    known = {_plain(name): name for name in reversed(fields)}
    needed, possible = KEYS[layout]
    columns: dict[str, str] = {}
    for key in (*needed, *possible):
        names = NAMES[key] + (_LOOSE.get(key, ()) if loose else ())
        column = next((known[n] for n in names if n in known and known[n] not in columns.values()), None)
        if column is not None:
            columns[key] = column
        elif key in needed and (require_target or key not in _TARGETS):
            return None
    return Plan(layout, columns)


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def given(columns: Mapping[str, str], layout: Layout | None, *, require_target: bool) -> Plan:
    """The plan that a person's own mapping of keys to fields makes.

    Raises:
        OptionError: if its keys are those of no layout, or not of ``layout``.
    """
    for candidate, (needed, possible) in KEYS.items():
        must = {key for key in needed if require_target or key not in _TARGETS}
        if layout in (None, candidate) and must <= set(columns) <= {*needed, *possible}:
            return Plan(candidate, dict(columns))
    known = [key for one, keys in KEYS.items() if layout in (None, one) for key in (*keys[0], *keys[1])]
    wrong = next((key for key in columns if key not in known), None)
    raise OptionError("columns must map the keys of one layout to the names of fields", where="columns",
                      why=f"'{wrong}' is no key; {nearest(wrong, known)}" if wrong else
                      f"{', '.join(columns) or 'no key'} alone make no {layout or 'layout'}",
                      fix="such as {'text': 'body', 'label': 'kind'}")


def theirs(names: Sequence[str]) -> list[str]:
    """The names that are the person's own: without those of fields that were added."""
    return [name for name in names if not name.startswith(ADDED)]


def guess_two(rows: Sequence[Mapping[str, Any]]) -> Plan | None:
    """Of two fields, the one named or repeated like a label is the label; None if that is not plain."""
    names = theirs(list(rows[0]))
    if len(names) != 2 or any(theirs(list(row)) != names for row in rows):
        return None
    distinct = {name: len({str(row[name]) for row in rows}) for name in names}
    few = [name for name in names if _plain(name) in NAMES["label"]] or [
        name for name in names if 2 <= distinct[name] <= _few(len(rows))]
    if len(few) != 1:
        return None
    other = next(name for name in names if name != few[0])
    return Plan(Layout.LABEL, {"text": other, "label": few[0]})


def guess_labels(rows: Sequence[Mapping[str, Any]]) -> Plan | None:
    """The plan of rows with a text and a field `labels`, which holds lists, or texts some of which part several labels.

    What holds one text or number each, as fields of that name often do, is left to others.
    """
    names = theirs(list(dict.fromkeys(name for row in rows for name in row)))
    labels, others = ([name for name in names if (_plain(name) == "labels") is wanted] for wanted in (True, False))
    plain = infer(others, require_target=True) or planned(Layout.TEXT, others, loose=True)
    if len(labels) != 1 or not (plain or len(others) == 1) or (plain and plain.layout is not Layout.TEXT):
        return None
    if not any(isinstance(value, list | tuple) or (isinstance(value, str) and _PARTED.search(value))
               for value in (row.get(labels[0]) for row in rows)):
        return None
    return Plan(Layout.LABELS, {"text": plain.columns["text"] if plain else others[0], "labels": labels[0]})


def guess_score(rows: Sequence[Mapping[str, Any]]) -> Plan | None:
    """Of two fields, the one that is named like a score or a label and holds numbers to be learned as such.

    Few whole numbers are classes. Under a label's name whole numbers are classes always, and numbers that are written
    as texts, which can be read as labels, are so unless they are too many for labels.
    """
    names = theirs(list(dict.fromkeys(name for row in rows for name in row)))
    scores, plain = [name for name in names if _plain(name) in NAMES["score"]], infer(names, require_target=True)
    if len(names) != 2 or len(scores) != 1 or (plain and plain.layout not in (Layout.LABEL, Layout.TEXT)):
        return None
    values = [row.get(scores[0]) for row in rows]
    found = numbers(values)
    if not nearly_all(found, values):
        return None
    whole, few = all(number == int(number) for number in found), len(set(found)) <= _few(len(rows))
    written = all(isinstance(value, str) for value in values)
    classes = whole or (written and few) if _plain(scores[0]) in NAMES["label"] else whole and few
    if classes:
        return None
    other = next(name for name in names if name != scores[0])
    return Plan(Layout.SCORE, {"text": other, "score": scores[0]})


def numbers(values: Iterable[Any]) -> list[float]:
    """Those of the values that can be scores."""
    return [found for value in values if (found := _number(value)) is not None]


def nearly_all(found: Sequence[float], values: Sequence[Any]) -> bool:
    """Whether so many of a column's values are numbers that it is one of numbers, and the others are errors."""
    return len(found) >= _NEARLY_ALL * len(values)


def _few(rows: int) -> int:
    """So many distinct values of a column may be labels."""
    return min(_FEW_LABELS, rows // 2)


def made(fields: Mapping[str, Any], plan: Plan, *, require_target: bool) -> dict[str, Any]:
    """The row with the layout's keys and checked values.

    Raises:
        Unusable: with the reason.
    """
    return _MAKERS[plan.layout](_Fields(fields, plan.columns, require_target))


@dataclass(frozen=True)
class _Fields:
    """A row's fields by the layout's keys."""

    fields: Mapping[str, Any]
    columns: Mapping[str, str]
    require_target: bool

    def value(self, key: str) -> Any:
        """What the row holds; a missing field is None.

        Raises:
            Unusable: if it holds what no tokenizer or strict JSON takes.
        """
        found = self.fields.get(self.columns.get(key, ""))
        if flaw := _flaw(found):
            raise Unusable(f"{self.told(key)} {flaw}")
        return found.item() if isinstance(found, np.generic) else found

    def told(self, key: str) -> str:
        """The key as the person wrote it."""
        return f"'{self.columns.get(key, key)}'"

    def has(self, key: str) -> bool:
        """Whether there is a value; without ``require_target`` an empty one is none."""
        found = self.value(key)
        return self.require_target or not (_missing(found) or (isinstance(found, str) and not found.strip()))

    def text(self, key: str) -> str:
        found = self.value(key)
        if found is None:
            raise Unusable(f"{self.told(key)} is missing")
        if not isinstance(found, str):
            raise Unusable(f"{self.told(key)} is {_kind(found)}, not text")
        if not found.strip():
            raise Unusable(f"{self.told(key)} is empty")
        return found


def _text_row(fields: _Fields) -> dict[str, Any]:
    return {"text": fields.text("text")}


def _label_row(fields: _Fields) -> dict[str, Any]:
    row = {"text": fields.text("text")}
    return {**row, "label": _label(fields)} if fields.has("label") else row


def _label(fields: _Fields) -> str:
    return _said(fields.value("label"), fields.told("label"))


def _said(value: Any, told: str) -> str:
    """The label that a value is."""
    if _missing(value):
        raise Unusable(f"{told} is missing")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and abs(value) < 1 << 63 and int(value) == value:
        return str(int(value))
    if not isinstance(value, str):
        raise Unusable(f"{told} is {_kind(value)}; a label is text, a whole number, true or false")
    if not value.strip():
        raise Unusable(f"{told} is empty")
    return value.strip()


def _labels_row(fields: _Fields) -> dict[str, Any]:
    row: dict[str, Any] = {"text": fields.text("text")}
    return {**row, "labels": _labels(fields)} if fields.has("labels") else row


def _labels(fields: _Fields) -> list[str]:
    """Each once, in natural order; of a text the parts between semicolons or bars, of an empty one none."""
    value, told = fields.value("labels"), fields.told("labels")
    if _missing(value):
        raise Unusable(f"{told} is missing; of a row without labels it is an empty list")
    if isinstance(value, str):
        value = [part for part in _PARTED.split(value) if part.strip()]
    if not isinstance(value, list | tuple):
        raise Unusable(f"{told} is {_kind(value)}, not a list of labels")
    return sorted({_said(label, f"label {n} of {told}") for n, label in enumerate(value, 1)}, key=natural)


def _score_row(fields: _Fields) -> dict[str, Any]:
    row: dict[str, Any] = {"text": fields.text("text")}
    return {**row, "score": _score(fields)} if fields.has("score") else row


def _score(fields: _Fields) -> float:
    value, told = fields.value("score"), fields.told("score")
    if value is None or value == "":
        raise Unusable(f"{told} is missing")
    found = _number(value)
    if found is None:
        said = repr(value[:40]) if isinstance(value, str) else value if isinstance(value, float) else _kind(value)
        raise Unusable(f"{told} is {said}; a score is a finite number such as 3.5")
    if abs(found) > _MOST:
        raise Unusable(f"{told} is larger than {_MOST:g}, of which the square cannot be computed")
    return found


def _number(value: Any) -> float | None:
    """The finite number that a value is, or is written as; None if it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        value = value.strip() if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _prompt_row(fields: _Fields) -> dict[str, Any]:
    row = {"prompt": fields.text("prompt")}
    context = fields.value("context")
    if context is not None and not isinstance(context, str):
        raise Unusable(f"{fields.told('context')} is {_kind(context)}, not text")
    if context and context.strip():
        row["prompt"] += f"\n\n{context}"
    if not fields.has("completion"):
        return row
    row["completion"] = fields.text("completion")
    return row if _missing(fields.value("rationale")) else {**row, "rationale": fields.text("rationale")}


def _preference_row(fields: _Fields) -> dict[str, Any]:
    if not (fields.has("chosen") and fields.has("rejected")):
        return {"prompt": fields.text("prompt")}
    row = {key: _last_answer(fields, key) for key in ("chosen", "rejected")}
    if row["chosen"] == row["rejected"]:
        raise Unusable("chosen and rejected are the same")
    return {"prompt": fields.text("prompt"), **row}


def _last_answer(fields: _Fields, key: str) -> str:
    """The answer, which may be given as a chat of one question and one answer."""
    value = fields.value(key)
    if not isinstance(value, list):
        return fields.text(key)
    messages = [m for m in _messages(value, fields.told(key)) if m["role"] != "system"]
    if [m["role"] for m in messages] not in (["assistant"], ["user", "assistant"]):
        raise Unusable(f"{fields.told(key)} is a chat of several turns, not one question with its answer")
    return messages[-1]["content"]


def _chat_row(fields: _Fields) -> dict[str, Any]:
    messages, told = _messages(fields.value("messages"), fields.told("messages")), fields.told("messages")
    system = fields.value("system")
    if isinstance(system, str) and system.strip() and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    if fields.require_target and messages[-1]["role"] != "assistant":
        raise Unusable(f"{told} end with the {messages[-1]['role']}'s message, so that there is no answer to learn")
    if all(m["role"] in ("system", "assistant") for m in messages):
        raise Unusable(f"{told} hold no user's message")
    tools = _tools(fields)
    return {"messages": messages, "tools": tools} if tools else {"messages": messages}


def _tools(fields: _Fields) -> list[Any] | None:
    value = fields.value("tools")
    if isinstance(value, str) and value.strip():
        value = json_value(value)
        if flaw := _flaw(value):
            raise Unusable(f"{fields.told('tools')} {flaw}")
    if value and not (isinstance(value, list) and all(isinstance(tool, dict) for tool in value)):
        raise Unusable(f"{fields.told('tools')} is no list of objects")
    return value or None


def _messages(value: Any, told: str) -> list[dict[str, Any]]:
    if value is None:
        raise Unusable(f"{told} is missing")
    if not isinstance(value, list):
        raise Unusable(f"{told} is {_kind(value)}, not a list of messages")
    if not value:
        raise Unusable(f"{told} is empty")
    return [_message(message, f"message {n} of {told}") for n, message in enumerate(value, 1)]


def _message(message: Any, told: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise Unusable(f"{told} is {_kind(message)}, not an object with role and content")
    said = message.get("role", message.get("from"))
    role = _ROLES.get(said.strip().casefold()) if isinstance(said, str) else None
    if role is None:
        raise Unusable(f"{told} has the role {str(said)[:40]!r}; known are {', '.join(sorted(_ROLES))}")
    kept = {key: message[key] for key in _KEPT if message.get(key) is not None}
    content = _content(message.get("content", message.get("value")), told)
    if not content.strip() and (role == "user" or (role == "assistant" and not kept.get("tool_calls"))):
        raise Unusable(f"{told} is empty")
    return {"role": role, "content": content, **kept}


def _content(content: Any, told: str) -> str:
    """Text, or the text of parts; nothing at all is allowed where a tool is called."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise Unusable(f"{told} holds parts that are no text")
        return "".join(map(str, parts))
    if not isinstance(content, str):
        raise Unusable(f"the content of {told} is {_kind(content)}, not text")
    return content


_MAKERS = {Layout.TEXT: _text_row, Layout.LABEL: _label_row, Layout.LABELS: _labels_row, Layout.SCORE: _score_row,
           Layout.PROMPT: _prompt_row, Layout.CHAT: _chat_row, Layout.PREFERENCE: _preference_row}


def _missing(value: Any) -> bool:
    """Nothing, or the NaN that data frames write for nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _kind(value: Any) -> str:
    names = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list | tuple, "a list"),
             (dict, "an object"))
    return next((name for kind, name in names if isinstance(value, kind)), f"a {type(value).__name__}")


def _flaw(value: Any) -> str | None:
    """Why the value, however deep, cannot be used; None if it can."""
    if isinstance(value, str):
        return unusable(value)
    layer: Iterable[Any] = [value]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for one in layer:
            if isinstance(one, Flaw):
                return f"is no valid value: {one.why}"
            if isinstance(one, str) and (why := unusable(one)):
                return why
            if isinstance(one, dict):
                inner += [*one, *one.values()]
            elif isinstance(one, list | tuple):
                inner += one
        if not inner:
            return None
        layer = inner
    return "is nested too deeply"
