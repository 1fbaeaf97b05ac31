"""How weights move: optimizers, and the schedules of their learning rate."""

from scrimp.tuning.optimizers.adamw import AdamW
from scrimp.tuning.optimizers.base import Optimizer, Schedule
from scrimp.tuning.optimizers.schedules import WarmupDecay

__all__ = ["AdamW", "Optimizer", "Schedule", "WarmupDecay"]
