"""Objectives: toward what a model is tuned."""

from scrimp.tuning.objectives.base import Loss, Objective, TorchBatch
from scrimp.tuning.objectives.classify import Classify
from scrimp.tuning.objectives.sft import SFT

__all__ = ["SFT", "Classify", "Loss", "Objective", "TorchBatch"]
