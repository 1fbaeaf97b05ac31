"""How much each example counts in its step."""

from scrimp.tuning.weighting.base import Weighting, Weights
from scrimp.tuning.weighting.shapes import LossShape
from scrimp.tuning.weighting.uniform import Uniform

__all__ = ["LossShape", "Uniform", "Weighting", "Weights"]
