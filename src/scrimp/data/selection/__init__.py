"""The family of selectors: which examples of a pool to keep."""

from scrimp.data.selection.acquisition import Acquisition, Tailor
from scrimp.data.selection.bandit import StrategyBandit
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.clusters import Clusters
from scrimp.data.selection.covering import KCenter
from scrimp.data.selection.determinantal import Determinantal
from scrimp.data.selection.gradient import GradientSimilarity
from scrimp.data.selection.hardness import Hardness
from scrimp.data.selection.labelnoise import LabelNoise
from scrimp.data.selection.likelihood import Likelihood
from scrimp.data.selection.quality import Quality
from scrimp.data.selection.random import Random
from scrimp.data.selection.ratings import CuratedRatings
from scrimp.data.selection.scored import Length, Scored
from scrimp.data.selection.submodular import Submodular
from scrimp.data.selection.target import Similarity
from scrimp.data.selection.trajectories import TrajectoryAlignment
from scrimp.data.selection.transport import Transport

__all__ = [
    "Acquisition", "Clusters", "CuratedRatings", "Determinantal", "GradientSimilarity", "Hardness", "KCenter",
    "LabelNoise", "Length", "Likelihood", "Quality", "Random", "Scored", "Selection", "Selector", "Similarity",
    "StrategyBandit", "Submodular", "Tailor", "TrajectoryAlignment", "Transport",
]
