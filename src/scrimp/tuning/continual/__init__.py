"""The family of continual learning: what of the old comes back while the new is learned."""

from scrimp.tuning.continual.base import Continual
from scrimp.tuning.continual.replay import Replay

__all__ = ["Continual", "Replay"]
