"""The lab in which a paper's claim is tried, and the catalogue that says how it came out."""

from scrimp.evidence.claims import Claim, claim
from scrimp.evidence.lab import Lab

__all__ = ["Claim", "Lab", "claim"]
