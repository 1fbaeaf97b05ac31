"""The family of selectors: which examples of a pool to keep."""

from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.clusters import Clusters
from scrimp.data.selection.covering import KCenter
from scrimp.data.selection.determinantal import Determinantal
from scrimp.data.selection.random import Random
from scrimp.data.selection.submodular import Submodular

__all__ = ["Clusters", "Determinantal", "KCenter", "Random", "Selection", "Selector", "Submodular"]
