"""Models in and out: resolving, validating, converting, loading, heads, exporting, cards."""
