"""The family of selectors: which examples of a pool to keep."""

from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.covering import KCenter
from scrimp.data.selection.random import Random

__all__ = ["KCenter", "Random", "Selection", "Selector"]
