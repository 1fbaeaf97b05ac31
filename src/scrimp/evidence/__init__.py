"""The lab in which a paper's claim is tried, and the catalogue that says how it came out.

The room has the name of its verb, and Python sets a package's rooms as its attributes: so that ``scrimp.evidence(...)``
is the verb whether the room was imported or not, the room can be called.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrimp.evidence.claims import Claim, claim
    from scrimp.evidence.lab import Lab

__all__ = ["Claim", "Lab", "claim"]


def __getattr__(name: str) -> Any:
    if name == "__signature__":
        return _verb().__signature__
    if name not in __all__:
        raise AttributeError(f"module 'scrimp.evidence' has no attribute '{name}'")
    return getattr(import_module("scrimp.evidence.lab" if name == "Lab" else "scrimp.evidence.claims"), name)


def _verb() -> Any:
    return import_module("scrimp.verbs.functions").evidence


class _Room(ModuleType):
    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """That of the verb: this is what ``help`` shows."""
        return _verb().__doc__

    def __call__(self, *given: Any, **options: Any) -> Any:
        return _verb()(*given, **options)


sys.modules[__name__].__class__ = _Room
