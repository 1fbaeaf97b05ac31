"""The family of writers: new examples from few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, Method
from scrimp.examples.records import Layout

if TYPE_CHECKING:
    from scrimp.examples.records import Examples

__all__ = ["KEYS", "LanguageModel", "Writer", "require"]

#: what an example has, in the layouts that can be written
KEYS = {Layout.TEXT: ("text",), Layout.LABEL: ("text", "label"), Layout.PROMPT: ("prompt", "completion")}

LanguageModel = Callable[[Sequence[str]], Sequence[str]]  # prompts -> one text each


class Writer(Method):
    """Writes examples. Most ask a language model; those that only rearrange ask nobody."""

    family: ClassVar[str] = "synthesis"
    verb: ClassVar[str] = "write"

    def write(self, seeds: Examples, count: int, *, llm: LanguageModel | None = None, seed: int = 0) -> Examples:
        """``count`` new examples in the layout of ``seeds``, each with its seed as source.

        Where a language model gives too little that can be used there are fewer, and a note says so.

        Raises:
            OptionError: if the method needs a language model and none is given.
            DataError: if there are no seeds, or their layout is none that the method writes.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """Calls of the language model for each new example, if all that it gives can be used."""
        raise NotImplementedError


def require(seeds: Examples, *layouts: Layout) -> None:
    """Raise a DataError unless there are seeds, of one of these layouts and with their answers."""
    if not len(seeds) or seeds.layout not in layouts:
        raise DataError(f"nothing can be written from {len(seeds)} rows of layout '{seeds.layout}'",
                        fix=f"give rows of layout {' or '.join(layouts)}")
    for row, source in zip(seeds.rows, seeds.sources, strict=True):
        if missing := [key for key in KEYS[seeds.layout] if key not in row]:
            raise DataError(f"the row has no {missing[0]}", where=source)
