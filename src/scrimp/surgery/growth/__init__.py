"""The family of growth: a larger model that begins where a smaller one ended."""
