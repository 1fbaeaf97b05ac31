"""The family of vocabulary transfer: embeddings for tokens that the model has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, Method

__all__ = ["Vectors", "Vocabulary"]

Vectors = Mapping[str, torch.Tensor]  # of words or tokens, each [S]


class Vocabulary(Method):
    """Makes the embeddings of a new vocabulary.

    A way to do so implements `fill`; `apply` checks the vocabularies and keeps what means the same in both.

    Attributes:
        shared: tokens that mean the same in both vocabularies, such as the end token; they keep their embeddings.
    """

    family: ClassVar[str] = "vocabulary"
    verb: ClassVar[str] = "apply"
    needs: ClassVar[tuple[str, ...]] = ()

    shared: tuple[str, ...] = Field(default=())

    def apply(self, embeddings: torch.Tensor, source: Mapping[str, int], target: Mapping[str, int], *,
              vectors: tuple[Vectors, Vectors] | None = None, seed: int = 0) -> torch.Tensor:
        """Embeddings [V', D] for ``target`` (token -> id) from ``embeddings`` [V, D] of ``source``, in their precision.

        ``vectors`` are static vectors of the source's and of the target's tokens in one space (`static` makes them),
        where the method needs them: a pair, since one spelling may be another word in each.

        Raises:
            ModelError: no vectors where they are needed, of different lengths, or of none of the tokens; ids that the
                embeddings do not have; shared tokens that are not in both.
        """
        _check(embeddings, source, target)
        if vectors is None and "vectors" in self.needs:
            raise ModelError(f"{self.name} goes by static vectors of the tokens, and there are none",
                             fix="make them from text of both languages: scrimp.surgery.vocabulary.static")
        if odd := [token for token in self.shared if token not in source or token not in target]:
            raise ModelError("a shared token is not in both vocabularies", where=repr(odd[0]))
        made = self.fill(embeddings.float(), source, target, vectors, torch.Generator().manual_seed(seed))
        for token in self.shared:
            made[target[token]] = embeddings[source[token]].float()
        return made.to(embeddings.dtype)

    def fill(self, embeddings: torch.Tensor, source: Mapping[str, int], target: Mapping[str, int],
             vectors: tuple[Vectors, Vectors] | None, chance: torch.Generator) -> torch.Tensor:
        """Float32 embeddings [V', D] from float32 ones [V, D]."""
        raise NotImplementedError

    def cost(self, embeddings: torch.Tensor, target: Mapping[str, int]) -> Cost:
        """The parameters of the result."""
        return Cost(parameters=(max(target.values()) + 1) * embeddings.shape[1])


def _check(embeddings: torch.Tensor, source: Mapping[str, int], target: Mapping[str, int]) -> None:
    if not source or not target:
        raise ModelError("a vocabulary is empty")
    for ids, most in ((source, len(embeddings)), (target, 1 << 24)):
        odd = next((token for token, place in ids.items() if not 0 <= place < most), None)
        if odd is not None:
            raise ModelError(f"has the id {ids[odd]}, which has no row of the embeddings", where=repr(odd))
