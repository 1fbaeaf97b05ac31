"""The page of the documentation that shows the curves, and its figures.

    python -m benchmarks.selection.curves_page

All figures and verdicts are computed from the cells. What they come to in words stands in `curves.md`, which names the
cells that it was written for; beside other cells it is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.selection.curves_arms import ARMS, CHANCE
from benchmarks.selection.curves_plot import drawing
from benchmarks.selection.curves_pools import EPOCHS, POOLS
from benchmarks.selection.curves_told import AMORTISED, Curve, Standing, cheapest, curves, standings, whole_cost
from scrimp.core.workspace import atomic_write, fingerprint

__all__ = ["page", "publish"]

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, WORDS = (Path(__file__).with_name(f"curves.{kind}") for kind in ("json", "md"))
NAME = "selection-curves"
CONTROLS = tuple(name for name, arm in ARMS.items() if arm.kind == "control")

_READING = f"""## How to read it

Written by `make bench-selection`; nothing but the words above is typed. Each pool is drawn anew by each seed. An arm
keeps a thirty-second to a half of it, and a learner learns from what was kept: a language model of 0.36 million
parameters, all of it tuned for {EPOCHS} epochs, or logistic regression on the frozen embeddings of MiniLM. Its setting,
the learning rate or the inverse penalty, is the one that does best for rows by chance, on a seed of its own.

On the bill are the operations of all passes, as scrimp bills them: two a weight and token forward, four backward; those
that a selector makes over the whole pool, its short trainings and the target's rows included, and those of learning
from what was kept. Every signal comes from the learner's own model, so that a pass over the pool has the price, beside
learning from it, that it has with a model of any size; *nearest* alone asks MiniLM, which is sixty times as large as
the language model, where one would choose a smaller one. Frozen embeddings of rows that are kept are needed to learn
from them, and are not billed twice. What is no pass of a model (n-grams, greedy choice, transport) bills nothing;
seconds of the processor tell what it takes here.

An arm is compared with chance, the better of rows drawn once and drawn anew for each epoch, *at the same cost*: where
the curve of chance is as dear, or at any cheaper size. It is *ahead* where the 95 % t-interval of the difference,
paired by seed, is above zero, *behind* where it is below. No correction is made for looking at five sizes.

Yin and Rush 2025, "Compute-Constrained Data Selection", asked this before, of large language models: cheap selectors
win almost everywhere, and perplexity and gradients pay where what is trained is five and ten times as large as what
selects. Here are more families, controls that cost nothing, intervals, and a run that fits one core.

In the figures the grey lines are chance, the blue line an arm with everything on its bill, the dashed blue one the same
arm if selecting were free, the dotted green one rows that an oracle knows to be good, for nothing. Bands are 95 %
t-intervals over the seeds; what is far worse than chance is outside of a panel.
"""


def publish(found: Mapping[str, Any], docs: Path = DOCS, words: Path = WORDS) -> None:
    """Write the page and its figures."""
    for name, told in _figures(found).items():
        atomic_write(docs / f"{NAME}-{name}.svg", told)
    atomic_write(docs / f"{NAME}.md", page(found, words.read_text() if words.exists() else ""))


def digest(found: Mapping[str, Any]) -> str:
    """Of the cells."""
    return fingerprint(found["cells"])[:16]


def page(found: Mapping[str, Any], words: str = "") -> str:
    """Markdown, from what was measured; ``words`` begin with the digest of the cells that they were written for."""
    of, _, said = words.partition("\n")
    parts = ["# What selection is worth once it is paid for", *([said.strip()] if of.strip() == digest(found) else []),
             _summary(_curves(found)), _READING.strip()]
    for name, measured in _curves(found).items():
        parts += _section(name, measured, found)
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return "\n\n".join([*parts, f"{versions}. Cells: `{digest(found)}`."]) + "\n"


def _curves(found: Mapping[str, Any]) -> dict[str, dict[str, Curve]]:
    """Of the pools that are measured, in the order in which they are told."""
    measured = {name: curves(found, name, pool.better) for name, pool in POOLS.items()}
    return {name: arms for name, arms in measured.items() if arms}


def _figures(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: drawing(measured, title=f"{name}: quality over total cost", measure=POOLS[name].measure,
                          better=POOLS[name].better) for name, measured in _curves(found).items()}


def _summary(measured: Mapping[str, Mapping[str, Curve]]) -> str:
    """How many trainings must share a selection, by selector and pool; and how many selectors need how many."""
    arms = [name for name, arm in ARMS.items() if arm.kind != "control" or name not in CHANCE]
    rows = ["| | what | " + " | ".join(measured) + " |", "|---|---|" + "---|" * len(measured)]
    for name in arms:
        if any(name in found for found in measured.values()):
            told = [_uses(cheapest(found, name, CHANCE)) if name in found else "" for found in measured.values()]
            rows.append(f"| {name} | {ARMS[name].what} | {' | '.join(told)} |")
    counts = [_counted(name, found) for name, found in measured.items()]
    return ("## How many trainings must share a selection before it is ahead of chance\n\n"
            f"Tried: {', '.join(_uses(uses) for uses in AMORTISED)}. *1*: it pays in the very training that it is made "
            "for. *free*: it is ahead of chance at the same number of rows, which is how selectors are usually "
            "compared, and with no number that was tried once it is paid for. *never*: not even then.\n\n"
            + "\n".join(rows) + "\n\n" + "\n".join(counts))


def _counted(name: str, found: Mapping[str, Curve]) -> str:
    arms = [arm for arm in found if ARMS[arm].kind == "selector"]
    paid, free = ([arm for arm in arms if any(one.verdict > 0 for one in standings(found, arm, CHANCE, uses=uses))]
                  for uses in (1, math.inf))
    strict = [arm for arm in arms if any(one.verdict > 0 for one in standings(found, arm, CONTROLS))]
    return (f"- **{name}**, {len(arms)} selectors. Ahead of chance somewhere, if selecting is free: {_list(free)}. "
            f"With everything on the bill: {_list(paid)}. And ahead of every control: {_list(strict)}.")


def _section(name: str, found: Mapping[str, Curve], raw: Mapping[str, Any]) -> list[str]:
    pool, whole = POOLS[name], whole_cost(found)
    tuned = raw["tuned"][name]
    tried = ", ".join(f"{value} at {at}" for at, value in tuned["tried"].items())
    table = ["| | what | looking costs | seconds | good rows kept | best lead over chance | chance, all on the bill "
             "| chance, looking free | every control, all on the bill |", "|---|---|--:|--:|---|---|---|---|---|"]
    table += [_row(arm, found, whole) for arm in ARMS if arm in found]
    return [f"## {name}", f"{pool.about} {max(found['random'].sizes)} rows; learning from all of them takes "
            f"{whole:.2g} operations, the unit of what looking costs. Measured: {pool.measure}, under "
            f"{len(found['random'].quality)} seeds. Setting of the learner: {tuned['setting']:g} ({tried}).",
            f"![quality over total cost, {name}]({NAME}-{name}.svg)", "\n".join(table)]


def _row(arm: str, found: Mapping[str, Curve], whole: float) -> str:
    own = found[arm]
    good = own.good.mean(axis=0)
    told = (f"| {arm} | {ARMS[arm].what} | {own.selecting.mean() / whole:.2f} | {own.seconds:.1f} "
            f"| {good[0]:.0%} to {good[-1]:.0%} |")
    if arm in CHANCE:
        return f"{told} | | | |"
    paid, free, strict = (standings(found, arm, against, uses=uses) for against, uses in (
        (CHANCE, 1), (CHANCE, math.inf), (CONTROLS, 1)))
    best = max(paid, key=lambda one: one.ahead)
    return (f"{told} {best.ahead:+.3f} ({best.low:+.3f} to {best.high:+.3f}) at {best.cost:.1e} "
            f"| {' | '.join(map(_where, (paid, free, strict)))} |")


def _where(told: Sequence[Standing]) -> str:
    """From which cost on an arm is ahead, and at how many of its sizes it is ahead and behind."""
    ahead, behind = ([one for one in told if one.verdict == sign] for sign in (1, -1))
    lost = f"; behind at {len(behind)}" if behind else ""
    if not ahead:
        return f"never{lost}"
    return f"from {min(one.cost for one in ahead):.1e}: {len(ahead)} of {len(told)}{lost}"


def _uses(uses: float | None) -> str:
    return "never" if uses is None else "free" if math.isinf(uses) else str(uses)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


if __name__ == "__main__":
    publish(json.loads(RESULTS.read_text()))
