"""What is wrong with rows: what of them is encoded and trained, which are kept, how they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.torture.faults.planting import At, Fault, by

__all__ = ["DATA", "RENDER", "rendered"]


def rendered(change: Callable[[list[int], list[bool]], tuple[list[int], list[bool]]]) -> Callable[[Any], Any]:
    def made(render: Any) -> Any:
        def wrong(*given: Any, **named: Any) -> tuple[list[int], list[bool]]:
            return change(*render(*given, **named))

        return wrong

    return made


RENDER = "scrimp.examples.templates:render"


def _encoded(change: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    """A template whose ``encode`` makes something else of a row."""
    def made(encode: Any) -> Any:
        def wrong(self: Any, row: Any, tokenizer: Any, *, index: int = 0) -> Any:
            return encode(self, change(self, row, index), tokenizer, index=index)

        return wrong

    return made


def _other_label(template: Any, row: Any, index: int) -> Any:
    return {**row, "label": next(one for one in template.labels if one != row["label"])} if "label" in row else row


def _one_on(template: Any, row: Any, index: int) -> Any:
    return {**row, "completion": f"{10 + index}"} if "completion" in row else row


def _first_word(template: Any, row: Any, index: int) -> Any:
    return {**row, "completion": row["completion"].split()[0]} if "completion" in row else row


_ENCODE = "scrimp.examples.templates:Template.encode"


def _select(at: At) -> Any:
    import scrimp

    return scrimp.select(str(at.good / "rows" / "train.jsonl"), method="random", keep="50%", page="none",
                         out=at.folder / "kept.jsonl", workspace=at.folder / "space")


def _selecting(change: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    def made(select: Any) -> Any:
        def wrong(self: Any, pool: Any, keep: int, **named: Any) -> Any:
            found = select(self, pool, keep, **named)
            return replace(found, indices=change(found.indices, len(pool)))

        return wrong

    return made


def _twice(indices: Any, total: int) -> Any:
    indices = indices.copy()
    indices[-1] = indices[0]
    return indices


_SELECT = "scrimp.data.selection.random:Random.select"


def _without_labels(text_of: Any) -> Any:
    return lambda row: text_of({name: value for name, value in row.items() if name != "label"})


_MASKS = "scrimp.examples.masks"


DATA: tuple[Fault, ...] = (
    Fault("no token is trained", by(RENDER, rendered(lambda ids, trained: (ids, [False] * len(ids))),
                                     lambda at: at.tune("pairs")),
          f"{_MASKS}.check_mask", "nothing would be trained|no trained|never learned"),
    Fault("the tokens of the prompt are trained",
          by(RENDER, rendered(lambda ids, trained: (ids, [True] * len(ids))), lambda at: at.tune("pairs")),
          f"{_MASKS}.check_mask", "of all tokens are trained"),
    Fault("the mask is one token early",
          by(RENDER, rendered(lambda ids, trained: (ids, [*trained[1:], False])), lambda at: at.tune("words")),
          f"{_MASKS}.check_ids", "end token is never learned"),
    Fault("the last token of the answer is lost",
          by(RENDER, rendered(lambda ids, trained: (ids, [*trained[:-1], False])), lambda at: at.tune("pairs")),
          f"{_MASKS}.check_ids", "end token is never learned"),
    Fault("the begin token is doubled",
          by(RENDER, rendered(lambda ids, trained: ([1, 1, *ids], [False, False, *trained])), At.tune),
          f"{_MASKS}.check_ids", "two begin tokens"),
    Fault("labels are swapped", by(_ENCODE, _encoded(_other_label), At.tune), f"{_MASKS}.check_answers",
          "something else is trained"),
    Fault("rows have the answers of others", by(_ENCODE, _encoded(_one_on), lambda at: at.tune("pairs")),
          f"{_MASKS}.check_answers", "something else is trained"),
    Fault("answers are cut to their first word", by(_ENCODE, _encoded(_first_word), lambda at: at.tune("words")),
          f"{_MASKS}.check_answers", "something else is trained"),
    Fault("a selector keeps a row twice", by(_SELECT, _selecting(_twice), _select),
          "scrimp.data.selection.base.Selection.checked", "did not keep"),
    Fault("a selector keeps rows that there are not",
          by(_SELECT, _selecting(lambda indices, total: indices + total), _select),
          "scrimp.data.selection.base.Selection.checked", "did not keep"),
    Fault("rows are written without their labels",
          by("scrimp.examples.writing:_json_text", _without_labels, _select), "scrimp.verbs.rows.Rewriting",
          "read as other rows"),
)
