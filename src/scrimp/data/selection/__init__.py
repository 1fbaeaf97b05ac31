"""The family of selectors: which examples of a pool to keep."""

from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.covering import KCenter
from scrimp.data.selection.hardness import Hardness
from scrimp.data.selection.labelnoise import LabelNoise
from scrimp.data.selection.likelihood import Likelihood
from scrimp.data.selection.quality import Quality
from scrimp.data.selection.random import Random
from scrimp.data.selection.ratings import CuratedRatings
from scrimp.data.selection.scored import Length, Scored

__all__ = ["CuratedRatings", "Hardness", "KCenter", "LabelNoise", "Length", "Likelihood", "Quality", "Random", "Scored",
           "Selection", "Selector"]
