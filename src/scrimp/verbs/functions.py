"""The verbs as Python functions, each made from its class."""

from __future__ import annotations

import inspect as signatures
from collections.abc import Callable
from typing import Any

from scrimp.core.errors import OptionError
from scrimp.verbs.base import Verb, plain
from scrimp.verbs.compare import Compare
from scrimp.verbs.evidence import Evidence
from scrimp.verbs.export import Export
from scrimp.verbs.housekeeping import Clean, Sample, Schema
from scrimp.verbs.inspect import Inspect
from scrimp.verbs.learn import Fit, Tune
from scrimp.verbs.merge import Merge
from scrimp.verbs.methods import Methods
from scrimp.verbs.mix import Mix
from scrimp.verbs.plan import Plan
from scrimp.verbs.run import Run
from scrimp.verbs.select import Select
from scrimp.verbs.serve import Serve
from scrimp.verbs.sift import Decontaminate, Deduplicate
from scrimp.verbs.ui import Ui
from scrimp.verbs.use import Evaluate, Predict

__all__ = [
    "clean", "compare", "decontaminate", "deduplicate", "evaluate", "evidence", "export", "fit", "function", "inspect",
    "merge", "methods", "mix", "plan", "predict", "run", "sample", "schema", "select", "serve", "tune", "ui",
]


def function(verb: type[Verb]) -> Callable[..., Any]:
    """The verb as a Python function, its signature and docstring made from the fields."""
    def ask(*given: Any, **options: Any) -> Any:
        if len(given) > len(verb.positional):
            raise OptionError(f"takes {len(verb.positional)} arguments without a name, not {len(given)}",
                              where=f"scrimp.{verb.named()}", fix=f"name the options: {', '.join(verb.listed())}")
        return verb.ask(**dict(zip(verb.positional, given, strict=False)), **options)

    kinds = signatures.Parameter
    parameters = [
        kinds(name, kinds.POSITIONAL_OR_KEYWORD if name in verb.positional else kinds.KEYWORD_ONLY,
              annotation=plain(field.annotation), default=kinds.empty if field.is_required() else field.default)
        for name, field in verb.listed().items()]
    if verb.rest:
        parameters.append(kinds(verb.rest, kinds.VAR_KEYWORD))
    listed = "\n".join(f"    {name}: {field.description}" for name, field in verb.listed().items())
    ask.__doc__ = f"{signatures.cleandoc(verb.__doc__ or '')}\n\nArgs:\n{listed}\n"
    ask.__name__ = ask.__qualname__ = verb.named()
    returned = signatures.signature(verb.do).return_annotation
    ask.__signature__ = signatures.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
    return ask


clean, evaluate, evidence, export = function(Clean), function(Evaluate), function(Evidence), function(Export)
fit, inspect, merge, methods = function(Fit), function(Inspect), function(Merge), function(Methods)
predict, run, sample = function(Predict), function(Run), function(Sample)
schema, select, serve, tune = function(Schema), function(Select), function(Serve), function(Tune)
deduplicate, decontaminate, mix, plan = function(Deduplicate), function(Decontaminate), function(Mix), function(Plan)
compare, ui = function(Compare), function(Ui)
