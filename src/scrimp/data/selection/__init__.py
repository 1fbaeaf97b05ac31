"""The family of selectors: which examples of a pool to keep."""
