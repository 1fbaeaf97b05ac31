"""The family of selectors: which examples of a pool to keep."""

from scrimp.data.selection.acquisition import Acquisition, Tailor
from scrimp.data.selection.bandit import StrategyBandit
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.covering import KCenter
from scrimp.data.selection.gradient import GradientSimilarity
from scrimp.data.selection.random import Random
from scrimp.data.selection.target import Similarity
from scrimp.data.selection.trajectories import TrajectoryAlignment
from scrimp.data.selection.transport import Transport

__all__ = ["Acquisition", "GradientSimilarity", "KCenter", "Random", "Selection", "Selector", "Similarity",
           "StrategyBandit", "Tailor", "TrajectoryAlignment", "Transport"]
