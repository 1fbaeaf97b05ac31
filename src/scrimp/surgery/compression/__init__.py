"""The family of compression: a smaller model that does nearly the same."""

from scrimp.surgery.compression.base import Compression
from scrimp.surgery.compression.pruning import Pruning
from scrimp.surgery.compression.rounding import Rounding

__all__ = ["Compression", "Pruning", "Rounding"]
