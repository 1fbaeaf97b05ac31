"""Can it be trusted: what a model has seen, and making it forget."""

from scrimp.trust.base import Audit, Forgetful, Unlearning
from scrimp.trust.membership import Membership
from scrimp.trust.slices import SlicedModel, Slices

__all__ = ["Audit", "Forgetful", "Membership", "SlicedModel", "Slices", "Unlearning"]
