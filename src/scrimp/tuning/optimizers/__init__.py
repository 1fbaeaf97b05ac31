"""How weights move: optimizers, the schedules of their learning rate, and bounds on their gradients."""

from scrimp.tuning.optimizers.adamw import AdamW
from scrimp.tuning.optimizers.base import Clipping, Optimizer, Schedule, Stepped
from scrimp.tuning.optimizers.clipping import NormClipping
from scrimp.tuning.optimizers.compressing import GradualPruning, RoundedWeights
from scrimp.tuning.optimizers.galore import GaLore
from scrimp.tuning.optimizers.lisa import LISA
from scrimp.tuning.optimizers.schedules import WarmupDecay

__all__ = ["LISA", "AdamW", "Clipping", "GaLore", "GradualPruning", "NormClipping", "Optimizer", "RoundedWeights",
           "Schedule", "Stepped", "WarmupDecay"]
