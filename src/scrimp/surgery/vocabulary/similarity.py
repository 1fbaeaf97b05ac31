"""Embeddings of a new vocabulary from those of the tokens nearest in meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch.nn.functional import normalize

from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.surgery.vocabulary.base import Vectors, Vocabulary
from scrimp.surgery.vocabulary.plain import drawn_alike

__all__ = ["SimilarityInit"]

_BLOCK = 1024  # target tokens that are compared with all source tokens at once


class SimilarityInit(Vocabulary):
    """Give every new token a mean of the old embeddings of the tokens nearest in meaning.

    e_t = sum over the k source tokens s nearest to t of softmax_s(cos(u_t, u_s) / T) e_s, with u the static vectors. A
    token without a vector, or with one of zeros, is drawn with the mean and the spread of the old embeddings.

    Minixhofer et al. 2022, "WECHSEL: Effective initialization of subword embeddings for cross-lingual transfer of
    monolingual language models".

    Attributes:
        neighbours: k.
        temperature: T; the lower, the more the very nearest token counts.
        shared: tokens that mean the same in both vocabularies, such as the end token; they keep their embeddings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vectors",)

    neighbours: int = Field(default=10, ge=1)
    temperature: float = Field(default=0.1, gt=0)

    def fill(self, embeddings: torch.Tensor, source: Mapping[str, int], target: Mapping[str, int],
             vectors: tuple[Vectors, Vectors] | None, chance: torch.Generator) -> torch.Tensor:
        assert vectors is not None  # `apply` has seen to it
        made = drawn_alike(embeddings, max(target.values()) + 1, chance)
        known, old = _gathered(source, vectors[0], "source")
        new, wanted = _gathered(target, vectors[1], "target")
        if old.shape[1] != wanted.shape[1]:
            raise ModelError("the vectors of source and target are of two spaces",
                             why=f"they have {old.shape[1]} and {wanted.shape[1]} numbers",
                             fix="align them: scrimp.surgery.vocabulary.static.aligned")
        for start in range(0, len(new), _BLOCK):
            near = (wanted[start: start + _BLOCK] @ old.T).topk(min(self.neighbours, len(known)), dim=1)
            shares = (near.values / self.temperature).softmax(dim=1).to(embeddings)
            made[new[start: start + _BLOCK]] = torch.einsum("tk,tkd->td", shares, embeddings[known[near.indices]])
        return made


def _gathered(ids: Mapping[str, int], vectors: Vectors, which: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids [N] of the tokens that have a vector which is not zero, and these vectors [N, S] of length 1."""
    held = [(place, vectors[token]) for token, place in ids.items() if token in vectors and bool(vectors[token].any())]
    if not held:
        raise ModelError(f"no token of the {which} vocabulary has a static vector", fix="give vectors of its tokens")
    places, found = zip(*held, strict=True)
    return torch.tensor(places), normalize(torch.stack(found).float(), dim=1)


preset("wechsel", SimilarityInit, papers=(490,))
