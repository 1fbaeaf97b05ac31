"""What can be known of an example without training on it: embeddings, losses, gradients, activations."""

from scrimp.signals.store import Signals

__all__ = ["Signals"]
