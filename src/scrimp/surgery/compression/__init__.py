"""The family of compression: a smaller model that does nearly the same."""
