"""The family of selectors: which examples of a pool to keep."""

from scrimp.data.selection.acquisition import Acquisition, Tailor
from scrimp.data.selection.agreement import Agreement
from scrimp.data.selection.askedlength import AskedLength
from scrimp.data.selection.bandit import StrategyBandit
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.clusters import Clusters
from scrimp.data.selection.covering import KCenter
from scrimp.data.selection.determinantal import Determinantal
from scrimp.data.selection.gradient import GradientSimilarity
from scrimp.data.selection.hardness import Hardness
from scrimp.data.selection.labelnoise import LabelNoise
from scrimp.data.selection.likelihood import Likelihood
from scrimp.data.selection.metacorrection import MetaCorrection
from scrimp.data.selection.quality import Quality
from scrimp.data.selection.random import Random
from scrimp.data.selection.ratings import CuratedRatings
from scrimp.data.selection.scored import Length, Scored
from scrimp.data.selection.submodular import Submodular
from scrimp.data.selection.target import Similarity
from scrimp.data.selection.targetclusters import TargetClusters
from scrimp.data.selection.trajectories import TrajectoryAlignment
from scrimp.data.selection.transport import Transport
from scrimp.data.selection.variety import Variety

# isort: split
from scrimp.data.selection.chain import Chain  # after all those that its presets are made of

__all__ = [
    "Acquisition", "Agreement", "AskedLength", "Chain", "Clusters", "CuratedRatings", "Determinantal",
    "GradientSimilarity", "Hardness", "KCenter", "LabelNoise", "Length", "Likelihood", "MetaCorrection", "Quality",
    "Random", "Scored", "Selection", "Selector", "Similarity", "StrategyBandit", "Submodular", "Tailor",
    "TargetClusters", "TrajectoryAlignment", "Transport", "Variety",
]
