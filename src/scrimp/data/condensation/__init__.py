"""The family of condensers: a few made-up examples that train like many real ones."""

from scrimp.data.condensation.base import Condensed, Condenser
from scrimp.data.condensation.real import RealRows
from scrimp.data.condensation.trajectories import TrajectoryMatching

__all__ = ["Condensed", "Condenser", "RealRows", "TrajectoryMatching"]
