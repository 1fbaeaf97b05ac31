"""Selectors made of others: one within the other, or what several agree on."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from scrimp.core.options import Fraction, Options
from scrimp.core.registry import Cost, build, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.scored import Scored

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Chain", "Stage"]


class Stage(Options):
    """A selector among others.

    Attributes:
        method: its name.
        share: of the rows that it is given, which it leaves.
        options: the method's own, by name.
    """

    method: str
    share: Fraction = 0.5
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.selector()
        return self

    def selector(self) -> Selector:
        """The method."""
        made: Selector = build("selection", self.method, self.options, where=f"stage '{self.method}'")
        return made


class Chain(Selector):
    """Keep what several selectors leave, one after the other or each of the whole pool.

    In sequence, each chooses among the rows that the one before has left, and the last keeps as many as are asked for;
    none leaves fewer than that. In an intersection, each looks at the whole pool: rows that all of them leave are kept
    before those that one of them does not, and among these the last selector's first.

    Variety and then quality: Xu et al. 2023, "Rethinking the Instruction Quality: LIFT is What You Need", where a
    strong model scores quality, and here likeness to a target does. The best matched share within the clusters of a
    target: Gadre et al. 2023, "DataComp: In search of the next generation of multimodal datasets". Answers that obey
    the length asked for, and of these the ones that the model finds least odd: Chen et al. 2024, "Minimum Tuning to
    Unlock Long Output from LLMs with High Quality Data as the Key", whose rows rules and a strong model check.

    Attributes:
        stages: the selectors in order, each with ``method``, ``share`` (of the rows that it is given, which it leaves;
            half of them, unless given) and ``options`` (its own).
        combine: "sequence", or "intersection".
    """

    stages: tuple[Stage, ...] = Field(default=({"method": "random"},), min_length=1, validate_default=True)
    combine: Literal["sequence", "intersection"] = "sequence"

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        if not keep:
            return Selection(np.zeros(0, dtype=np.int64), why="nothing was asked for")
        ask = self._in_sequence if self.combine == "sequence" else self._in_common
        return ask(pool, keep, signals=signals, target=target, seed=seed)

    def cost(self) -> Cost:
        """A stage of a sequence looks at what those before it leave; in common, what two of them read is read once."""
        if self.combine == "intersection":
            return Cost(forward=sum({name: passes for stage in self.stages
                                     for name, passes in _passes(stage.selector()).items()}.values()),
                        backward=sum(stage.selector().cost().backward or 0 for stage in self.stages))
        seen = [prod(stage.share for stage in self.stages[:place]) for place in range(len(self.stages))]
        costs = [stage.selector().cost() for stage in self.stages]
        return Cost(forward=sum(part * (cost.forward or 0) for part, cost in zip(seen, costs, strict=True)),
                    backward=sum(part * (cost.backward or 0) for part, cost in zip(seen, costs, strict=True)))

    def _in_sequence(self, pool: Examples, keep: int, **given: Any) -> Selection:
        left, reasons, counts = np.arange(len(pool)), [""] * len(pool), []
        for number, stage in enumerate(self.stages, 1):
            among = pool.subset(left.tolist())
            count = keep if number == len(self.stages) else max(keep, round(stage.share * len(left)))
            found = stage.selector().select(among, count, **given).checked(among, count, by=self._told(number))
            for row, reason in zip(left.tolist(), found.reasons or [found.why] * len(left), strict=True):
                reasons[row] = f"left out by {self._told(number)}" if number < len(self.stages) else \
                    f"{self._told(number)}: {reason}"
            left = left[found.indices]
            counts.append(f"{len(left)} by {stage.method}")
        return Selection(left, why=f"of {len(pool)} rows {', then '.join(counts)}; {found.why}", reasons=reasons)

    def _in_common(self, pool: Examples, keep: int, **given: Any) -> Selection:
        places = np.full((len(self.stages), len(pool)), len(pool))
        for number, stage in enumerate(self.stages, 1):
            count = round(stage.share * len(pool))
            found = stage.selector().select(pool, count, **given).checked(pool, count, by=self._told(number))
            places[number - 1, found.indices] = np.arange(count)
        by = places < len(pool)
        votes = by.sum(axis=0)
        kept = np.lexsort((*places, -votes))[:keep]
        names = np.array([stage.method for stage in self.stages])
        reasons = [f"left by {' and by '.join(names[own]) or 'none'}" for own in by.T]
        common = int((votes == len(self.stages)).sum())
        return Selection(kept, scores=votes.astype(np.float64), reasons=reasons,
                         why=f"{common} of {len(pool)} rows are left by {' and by '.join(names)}")

    def _told(self, number: int) -> str:
        return f"stage {number} of {len(self.stages)}, {self.stages[number - 1].method}"


def _passes(selector: Selector) -> dict[str, float]:
    """What a selector reads -> passes; scorers that read the same share it."""
    if isinstance(selector, Scored) and not selector.apart:
        return selector.passes()
    return {selector.name: selector.cost().forward or 0}


preset("chain", Chain)
preset("lift", Chain, papers=(288,), stages=({"method": "variety"}, {"method": "filter-network"}))
preset("datacomp", Chain, papers=(476,), combine="intersection",
       stages=({"method": "target-clusters", "share": 0.5}, {"method": "agreement", "share": 0.3}))
preset("long-output", Chain, papers=(63,), stages=({"method": "asked-length"}, {"method": "loss"}))
