"""What can be known of an example without training on it: embeddings, losses, gradients, activations."""
