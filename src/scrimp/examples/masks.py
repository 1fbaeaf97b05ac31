"""The mask of what is learned: its guards, and a look at it token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrimp.core.errors import GuardError
from scrimp.examples.records import Examples, Layout

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded, Template

__all__ = ["Inspection", "TokenRow", "check_answers", "check_ids", "check_mask", "inspect"]

_NEARLY_ALL = 0.95
_FIX = "see what is trained with: scrimp inspect"
_LOOKED_AT = 200  # rows whose trained text is compared with their answer
_LONGEST_CHARACTER = 8  # tokens that one character may take


@dataclass(frozen=True)
class TokenRow:
    """A row token by token; the texts join to the row's text."""

    source: str
    tokens: tuple[str, ...]
    trained: tuple[bool, ...]


@dataclass(frozen=True)
class Inspection:
    """Some rows token by token, and the totals over all rows.

    Attributes:
        rows: those looked at.
        tokens, trained_tokens: of all rows.
        longest: tokens of the longest row.
        truncated: rows whose text was cut.
        warnings: what the guards of the mask say.
    """

    rows: tuple[TokenRow, ...]
    tokens: int
    trained_tokens: int
    longest: int
    truncated: int
    warnings: tuple[str, ...]


def inspect(examples: Examples, template: Template, tokenizer: Any, rows: int | Sequence[int] = 3) -> Inspection:
    """What a model would be trained on.

    Args:
        examples: all rows that would be trained on.
        template: the template.
        tokenizer: the model's.
        rows: positions of the rows to show, or how many from the beginning.

    Raises:
        DataError: naming all rows that cannot be encoded.
        GuardError: if nothing would be trained, a begin token is doubled or no end token learned.
    """
    encoded = template.encode_all(examples, tokenizer)
    shown = range(min(rows, len(encoded))) if isinstance(rows, int) else rows
    warnings = [] if template.style == "pooled" else [
        *check_mask(encoded, examples.layout), *check_ids(encoded, template, tokenizer),
        *check_answers(encoded, examples, template, tokenizer)]
    return Inspection(
        tuple(TokenRow(examples.sources[i], _token_texts(encoded[i].ids, tokenizer), tuple(encoded[i].trained))
              for i in shown),
        sum(len(one.ids) for one in encoded), sum(sum(one.trained) for one in encoded),
        max((len(one.ids) for one in encoded), default=0), sum(one.truncated for one in encoded), tuple(warnings))


def check_mask(encoded: Sequence[Encoded], layout: Layout) -> list[str]:
    """Warnings about the share of trained tokens.

    Raises:
        GuardError: if there is no trained token at all.
    """
    trained, total = sum(sum(one.trained) for one in encoded), sum(len(one.ids) for one in encoded)
    if not trained:
        raise GuardError("nothing would be trained", why=f"none of the {total} tokens is marked as trained", fix=_FIX)
    warnings = []
    if silent := [one.row for one in encoded if not any(one.trained)]:
        warnings.append(f"{len(silent)} of {len(encoded)} rows have no trained token; the first is row {silent[0] + 1}")
    if layout is not Layout.TEXT and trained > _NEARLY_ALL * total:
        warnings.append(f"{trained / total:.0%} of all tokens are trained, though only answers should be; {_FIX}")
    return warnings


def check_answers(encoded: Sequence[Encoded], examples: Examples, template: Template, tokenizer: Any) -> list[str]:
    """See that what is trained of a row holds its answer; of many rows some are looked at, cut ones are passed over.

    Returns:
        a warning about chats, of which a template may leave parts out, such as earlier reasoning.

    Raises:
        GuardError: something else is trained than the answer of a row that has one.
    """
    wrong = []
    step = max(len(encoded) // _LOOKED_AT, 1)
    for one, row in list(zip(encoded, examples.rows, strict=True))[::step]:
        said = _bare(tokenizer.decode([token for token, learned in zip(one.ids, one.trained, strict=True) if learned],
                                      skip_special_tokens=True))
        missing = [answer for answer in _wanted(row) if not _holds(said, answer, tokenizer)]
        other = one.target is not None and template.labels[one.target] != row["label"]
        if not one.truncated and (missing or other):
            wrong.append((one.row, said, missing[0] if missing else row["label"]))
    if not wrong:
        return []
    place, said, answer = wrong[0]
    told = (f"in {len(wrong)} of {len(encoded[::step])} rows that were looked at, something else is trained than the "
            "answer")
    why = f"of {examples.sources[place]} it is '{said:.60}', and its answer is '{answer:.60}'"
    if examples.layout is Layout.CHAT:
        return [f"{told}: {why}; {_FIX}"]
    raise GuardError(told, where=examples.sources[place], why=why, fix=_FIX)


def _wanted(row: Mapping[str, Any]) -> list[str]:
    """The texts of a row that are to be learned."""
    if "messages" in row:
        return [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
    return [str(row[key]) for key in ("label", "completion", "chosen") if key in row][:1] or [row["text"]]


def _holds(said: str, answer: str, tokenizer: Any) -> bool:
    """Whether ``answer`` is in what was ``said``, as it stands or as the tokenizer gives it back."""
    if (bare := _bare(answer)) in said:
        return True
    ids = tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
    return _bare(tokenizer.decode(ids, skip_special_tokens=True)) in said or bare == ""


def _bare(text: str) -> str:
    return "".join(text.split())


def check_ids(encoded: Sequence[Encoded], template: Template, tokenizer: Any) -> list[str]:
    """Warnings about begin and end tokens.

    Raises:
        GuardError: if a row begins with two begin tokens, or if an answer's end token is never trained.
    """
    begin = getattr(tokenizer, "bos_token_id", None)
    doubled = [one.row for one in encoded if begin is not None and one.ids[:2] == [begin, begin]]
    if doubled:
        raise GuardError(f"row {doubled[0] + 1} begins with two begin tokens",
                         why="both the template and the tokenizer write one", fix="let only one of them write it")
    if not template.ends:
        return []
    end = template.end(tokenizer)
    if any(token == end and learned for one in encoded for token, learned in zip(one.ids, one.trained, strict=True)):
        return []
    if template.layout is Layout.TEXT:
        return ["every document was cut, so that the end token is never learned; raise max_tokens"]
    raise GuardError("the end token is never learned, so that the model would not stop",
                     why=f"token {end} is in no row's trained part", fix=_FIX)


def _token_texts(ids: Sequence[int], tokenizer: Any) -> tuple[str, ...]:
    """Each token's text; of a character that takes several tokens, the last one has it and the others have none."""
    texts, waiting = [], list[int]()
    for token in ids:
        waiting.append(token)
        text = tokenizer.decode(waiting, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole = not text.endswith("\N{REPLACEMENT CHARACTER}") or len(waiting) == _LONGEST_CHARACTER
        texts.append(text if whole else "")
        if whole:
            waiting = []
    return (*texts[:-1], texts[-1] if not waiting else text) if texts else ()
