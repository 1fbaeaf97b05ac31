"""The family of heads: classifiers on frozen features."""

from scrimp.tuning.heads.base import FittedHead, Head, LinearScores
from scrimp.tuning.heads.gaussian import GaussianHead
from scrimp.tuning.heads.logistic import Logistic
from scrimp.tuning.heads.nearest import ClassMeans, NearestMean
from scrimp.tuning.heads.ridge import Ridge

__all__ = ["ClassMeans", "FittedHead", "GaussianHead", "Head", "LinearScores", "Logistic", "NearestMean", "Ridge"]
