"""A tuning plan: independent choices, written flat.

``tune: {adapter: lora, rank: 16, optimizer: adamw, learning_rate: 1e-4, schedule: wsd, objective: sft, epochs: 3}``
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrimp.core.errors import OptionError, nearest
from scrimp.core.registry import Method, lookup, presets
from scrimp.tuning.trainer import TrainOptions, TrainResult, train

if TYPE_CHECKING:
    from torch import nn

    from scrimp.core.budget import Meter
    from scrimp.core.ledger import Ledger
    from scrimp.examples.templates import Encoded
    from scrimp.tuning.adapters import Adapter
    from scrimp.tuning.objectives import Objective
    from scrimp.tuning.optimizers import Clipping, Optimizer, Schedule
    from scrimp.tuning.packing import Packing
    from scrimp.tuning.sampling import Sampling
    from scrimp.tuning.weighting import Weighting

__all__ = ["DEFAULTS", "TunePlan", "json_schema"]

#: the choices, and what each is if nothing is said
DEFAULTS = {"adapter": "lora", "optimizer": "adamw", "schedule": "cosine", "clipping": "global-norm",
            "objective": "sft", "packing": "none", "sampling": "shuffle", "weighting": "uniform"}


@dataclass(frozen=True)
class TunePlan:
    """What moves, how, at what rate, by how much at most, toward what, on which examples, and for how long."""

    adapter: Adapter
    optimizer: Optimizer
    schedule: Schedule
    clipping: Clipping
    objective: Objective
    packing: Packing
    sampling: Sampling
    weighting: Weighting
    options: TrainOptions

    @classmethod
    def parse(cls, given: Mapping[str, Any], *, where: str = "tune") -> TunePlan:
        """The plan of a flat mapping.

        Raises:
            OptionError: an unknown key, name or value, or a key that two of the chosen methods share.
        """
        names = {family: given.get(family, default) for family, default in DEFAULTS.items()}
        for family, name in names.items():
            if not isinstance(name, str):
                raise OptionError(f"'{family}' is the name of a method, not {name!r}", where=where)
        owners = _owners(names, where)
        rest = {key: value for key, value in given.items() if key not in DEFAULTS}
        if unknown := [key for key in rest if key not in owners]:
            raise OptionError("; ".join(_unknown(key, owners) for key in unknown), where=where)
        parts = {part: {k: v for k, v in rest.items() if owners[k] == part} for part in [*DEFAULTS, "options"]}
        methods = {family: lookup(family, name).build(parts[family], where=where) for family, name in names.items()}
        return cls(**methods, options=TrainOptions.parse(parts["options"], where=where))  # type: ignore[arg-type]

    def flat(self) -> dict[str, Any]:
        """The mapping that `parse` reads as this plan: the names, and what differs from their defaults."""
        written: dict[str, Any] = {}
        for family in DEFAULTS:
            method: Method = getattr(self, family)
            written |= {family: method.name, **_differing(method, lookup(family, method.name).build())}
        return written | _differing(self.options, TrainOptions())

    def attach(self, model: nn.Module) -> nn.Module:
        """``model`` with the adapter, its new weights drawn by the plan's seed."""
        return self.adapter.attach(model, seed=self.options.seed)

    def train(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, folder: Path, meter: Meter,
              ledger: Ledger | None = None, validate: Callable[[], float] | None = None) -> TrainResult:
        """Train a model that the adapter is attached to; see `scrimp.tuning.trainer.train`."""
        packed = self.packing.pack(data, seed=self.options.seed)
        return train(model, packed, pad_id=pad_id, objective=self.objective, optimizer=self.optimizer,
                     schedule=self.schedule, clipping=self.clipping, sampling=self.sampling, weighting=self.weighting,
                     options=self.options, folder=folder, meter=meter, ledger=ledger, validate=validate)


def json_schema() -> dict[str, Any]:
    """The JSON schema of the flat mapping: the names, and all options of all methods."""
    properties: dict[str, Any] = {
        family: {"enum": [p.name for p in presets(family)], "default": default, "description": f"the {family}"}
        for family, default in DEFAULTS.items()}
    for options in _all_options():
        for name, schema in options.model_json_schema()["properties"].items():
            described = {"description": _described(options, name), **schema}
            known = properties.setdefault(name, described)
            if known != described:
                properties[name] = {"anyOf": [*known.get("anyOf", [known]), described],
                                    "description": known["description"]}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _owners(names: Mapping[str, str], where: str) -> dict[str, str]:
    """Each option of the chosen methods and of the trainer, and whose it is."""
    owners: dict[str, str] = {}
    fields = {family: lookup(family, name).method.model_fields for family, name in names.items()}
    for part, options in {**fields, "options": TrainOptions.model_fields}.items():
        for key in options:
            if key in owners or key in DEFAULTS:
                raise OptionError(f"the option '{key}' of the {part} is also one of the {owners.get(key, 'plan')}",
                                  where=where, fix="choose another method, or ask its author to rename the option")
            owners[key] = part
    return owners


def _unknown(key: str, owners: Mapping[str, str]) -> str:
    holders = [f"{family} '{p.name}'" for family in DEFAULTS for p in presets(family) if key in p.method.model_fields]
    hint = f"it belongs to {' or '.join(holders)}" if holders else nearest(key, [*DEFAULTS, *owners], limit=40)
    return f"unknown option '{key}'; {hint}"


def _differing(options: Any, default: Any) -> dict[str, Any]:
    plain, usual = options.model_dump(mode="json"), default.model_dump(mode="json")
    return {key: value for key, value in plain.items() if value != usual[key]}


def _all_options() -> Iterator[Any]:
    seen = [p.method for family in DEFAULTS for p in presets(family)]
    yield from dict.fromkeys([*seen, TrainOptions])


def _described(options: Any, name: str) -> str:
    """What the class's docstring, or that of the class it inherits the option from, says of it, on one line."""
    entry = re.compile(rf"^    {name}: (.+(?:\n {{8,}}.+)*)", re.MULTILINE)
    said = next(filter(None, (entry.search(inspect.cleandoc(c.__doc__ or "")) for c in options.__mro__)), None)
    return " ".join(said[1].split()) if said else f"of {options.__name__}"
