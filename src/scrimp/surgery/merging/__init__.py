"""Merging: several models of one shape become one."""

from scrimp.surgery.merging.arithmetic import TaskArithmetic
from scrimp.surgery.merging.averages import LinearAverage, SphericalAverage
from scrimp.surgery.merging.base import Merge, Weights

__all__ = ["LinearAverage", "Merge", "SphericalAverage", "TaskArithmetic", "Weights"]
