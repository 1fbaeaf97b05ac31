"""The family of condensers: a few made-up examples that train like many real ones."""
