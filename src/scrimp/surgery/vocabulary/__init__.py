"""Vocabulary transfer: embeddings for tokens that the model has never seen."""

from scrimp.surgery.vocabulary.base import Vectors, Vocabulary
from scrimp.surgery.vocabulary.plain import PlainInit
from scrimp.surgery.vocabulary.similarity import SimilarityInit

__all__ = ["PlainInit", "SimilarityInit", "Vectors", "Vocabulary"]
