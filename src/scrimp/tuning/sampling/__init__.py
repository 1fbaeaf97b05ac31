"""Which examples each step sees: samplings and the feeds that they make."""

from scrimp.tuning.sampling.base import Answer, Feed, Question, Rounds, Sampling, Shuffled
from scrimp.tuning.sampling.shuffle import Shuffle

__all__ = ["Answer", "Feed", "Question", "Rounds", "Sampling", "Shuffle", "Shuffled"]
