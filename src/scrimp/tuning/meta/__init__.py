"""The family of meta-learners: trained on tasks, they give a learner that needs few examples of a new one."""

from scrimp.tuning.meta.base import Episode, Episodic, Learner, MetaLearner, Tasks
from scrimp.tuning.meta.embedding import Prototypes, SupervisedEmbedding
from scrimp.tuning.meta.incontext import InContextTuning, Reader
from scrimp.tuning.meta.maml import MAML

__all__ = ["MAML", "Episode", "Episodic", "InContextTuning", "Learner", "MetaLearner", "Prototypes", "Reader",
           "SupervisedEmbedding", "Tasks"]
