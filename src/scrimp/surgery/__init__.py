"""Making models of models: weights in, weights out."""
