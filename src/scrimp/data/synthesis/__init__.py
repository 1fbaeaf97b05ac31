"""The family of writers: new examples from few."""

from scrimp.data.synthesis.base import LanguageModel, Writer
from scrimp.data.synthesis.mosaic import Mosaic
from scrimp.data.synthesis.teacher import Student, Teacher

__all__ = ["LanguageModel", "Mosaic", "Student", "Teacher", "Writer"]
