"""scrimp adapts pretrained models when data, memory or compute is short.

``scrimp.fit(data="reviews.csv", budget="10m", out="run")`` and the other verbs are functions here; each is described
by ``help(scrimp.fit)``. Nothing is loaded before it is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrimp.core.budget import Budget
    from scrimp.core.errors import ScrimpError
    from scrimp.evaluation.outcome import Outcome
    from scrimp.verbs.functions import (
        clean,
        compare,
        decontaminate,
        deduplicate,
        evaluate,
        evidence,
        export,
        fit,
        inspect,
        merge,
        methods,
        mix,
        plan,
        predict,
        run,
        sample,
        schema,
        select,
        serve,
        tune,
    )

# oneDNN keeps what it compiles for each shape of a product, and torch's layer over it what it prepares, by default for
# 1024 shapes each: hundreds of MiB where lengths change from batch to batch. Both read this when they are first used.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "64")

_ELSEWHERE = {"Budget": "scrimp.core.budget", "Outcome": "scrimp.evaluation.outcome",
              "ScrimpError": "scrimp.core.errors"}

__all__ = [
    "Budget", "Outcome", "ScrimpError", "clean", "compare", "decontaminate", "deduplicate", "evaluate", "evidence",
    "export", "fit", "inspect", "merge", "methods", "mix", "plan", "predict", "run", "sample", "schema", "select",
    "serve", "tune", "ui",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("scrimp")
    if name not in __all__:
        raise AttributeError(f"module 'scrimp' has no attribute '{name}'")
    return getattr(import_module(_ELSEWHERE.get(name, "scrimp.verbs.functions")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
