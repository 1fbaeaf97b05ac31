"""The family of architectures: small models that are trained from nothing."""
