"""What can be known of an example without training on it: embeddings, losses, gradients, activations, answers."""

from scrimp.signals.store import Signals

__all__ = ["Signals"]
