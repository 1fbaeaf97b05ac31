"""The family of architectures: small models that are trained from nothing."""

from scrimp.surgery.architectures.base import Architecture
from scrimp.surgery.architectures.compact import CompactTransformer

__all__ = ["Architecture", "CompactTransformer"]
