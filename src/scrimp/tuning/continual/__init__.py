"""The family of continual learning: what of the old comes back while the new is learned."""
