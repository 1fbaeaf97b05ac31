"""The lab in which a paper's claim is tried, and the catalogue that says how it came out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrimp.evidence.claims import Claim, claim
    from scrimp.evidence.lab import Lab

__all__ = ["Claim", "Lab", "claim"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'scrimp.evidence' has no attribute '{name}'")
    return getattr(import_module("scrimp.evidence.lab" if name == "Lab" else "scrimp.evidence.claims"), name)
