"""The family of writers: new examples from few."""
