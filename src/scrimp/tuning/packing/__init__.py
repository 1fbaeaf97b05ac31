"""How rows come into sequences: as they are, one after another, or in parts."""

from scrimp.tuning.packing.base import Packing
from scrimp.tuning.packing.plain import Apart, Concatenated, Decomposed
from scrimp.tuning.packing.related import Related, path

__all__ = ["Apart", "Concatenated", "Decomposed", "Packing", "Related", "path"]
