"""The family of writers: new examples from few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.examples.records import Examples

__all__ = ["LanguageModel", "Writer"]

LanguageModel = Callable[[Sequence[str]], Sequence[str]]  # prompts -> one text each


class Writer(Method):
    """Writes examples. Most ask a language model; those that only rearrange ask nobody."""

    family: ClassVar[str] = "synthesis"
    verb: ClassVar[str] = "write"

    def write(self, seeds: Examples, count: int, *, llm: LanguageModel | None = None, seed: int = 0) -> Examples:
        """``count`` new examples in the layout of ``seeds``, each with its seed as source.

        Raises:
            OptionError: if the method needs a language model and none is given.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """Calls of the language model for each new example."""
        raise NotImplementedError
