"""Which examples each step sees: samplings and the feeds that they make."""

from scrimp.tuning.sampling.base import Answer, Feed, Planned, Question, Rounds, Sampling, Shuffled
from scrimp.tuning.sampling.filtering import Filtering
from scrimp.tuning.sampling.orders import Curriculum, LengthCurriculum
from scrimp.tuning.sampling.shuffle import Shuffle
from scrimp.tuning.sampling.subsets import Subsets
from scrimp.tuning.sampling.topics import Topics
from scrimp.tuning.sampling.windows import SlidingWindow

__all__ = ["Answer", "Curriculum", "Feed", "Filtering", "LengthCurriculum", "Planned", "Question", "Rounds", "Sampling",
           "Shuffle", "Shuffled", "SlidingWindow", "Subsets", "Topics"]
