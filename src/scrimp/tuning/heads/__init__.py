"""The family of heads: classifiers on frozen features."""
