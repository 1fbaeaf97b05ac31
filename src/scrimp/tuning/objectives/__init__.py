"""Objectives: toward what a model is tuned."""

from scrimp.tuning.objectives.base import Loss, Losses, Objective, TorchBatch
from scrimp.tuning.objectives.classify import Classify
from scrimp.tuning.objectives.critical import CriticalSteps
from scrimp.tuning.objectives.each import ClassifyEach
from scrimp.tuning.objectives.preferences import DirectAlignment
from scrimp.tuning.objectives.rationale import RationaleDistillation
from scrimp.tuning.objectives.regress import Regress
from scrimp.tuning.objectives.sft import SFT

__all__ = ["SFT", "Classify", "ClassifyEach", "CriticalSteps", "DirectAlignment", "Loss", "Losses", "Objective",
           "RationaleDistillation", "Regress", "TorchBatch"]
