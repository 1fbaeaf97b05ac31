"""The ways that are compared, by name."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OWN", "WAYS", "Way"]

OWN = "scrimp"  #: the way that the others are peers of


@dataclass(frozen=True)
class Way:
    """A way to solve a task.

    Attributes:
        what: it is, in a few words.
        function: ``module:name`` of what answers an `asked.Asked`; none is the command of scrimp itself.
        packages: whose versions are told with what it reached.
        folder: of the peers' folder, that its packages are in; none where scrimp's own dependencies do.
        kinds: of tasks that it solves.
    """

    what: str
    function: str | None
    packages: tuple[str, ...]
    folder: str | None = None
    kinds: tuple[str, ...] = ("labelled", "generated")


def _classifier(name: str, what: str, packages: tuple[str, ...], folder: str | None = None) -> Way:
    return Way(what, f"benchmarks.low_data.classifiers:{name}", packages, folder, ("labelled",))


def _language(name: str, what: str, packages: tuple[str, ...] = (), kinds: tuple[str, ...] = ("generated",)) -> Way:
    return Way(what, f"benchmarks.low_data.languages:{name}", ("torch", "transformers", *packages), None, kinds)


WAYS = {
    "words": _classifier("words", "TF-IDF, logistic regression", ("scikit-learn",)),
    "frozen": _classifier("frozen", "frozen MiniLM, logistic regression",
                          ("sentence-transformers", "scikit-learn", "torch", "transformers"), "setfit"),
    "setfit": _classifier("setfit", "SetFit on MiniLM",
                          ("setfit", "sentence-transformers", "scikit-learn", "torch", "transformers"), "setfit"),
    "autogluon": _classifier("autogluon", "AutoGluon's tables, with n-grams of the text",
                             ("autogluon.tabular", "lightgbm", "catboost", "xgboost-cpu", "pandas"), "autogluon"),
    "untouched": _language("untouched", "SmolLM2 as it is"),
    "fewshot": _language("fewshot", "SmolLM2 shown up to 16 examples"),
    "lora": _language("lora", "LoRA by PEFT on SmolLM2", ("peft",), ("labelled", "generated")),
    OWN: Way("`scrimp fit`", None, ("scrimp", "torch", "transformers", "peft", "scikit-learn")),
}
