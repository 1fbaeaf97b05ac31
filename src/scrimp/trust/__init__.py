"""Can it be trusted: what a model has seen, and making it forget."""
