"""Trying claims: every arm, every seed, in processes of one thread; what is finished is kept and not run again."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np

from scrimp.core.assets import cache
from scrimp.core.errors import GuardError
from scrimp.core.progress import bar
from scrimp.core.workspace import atomic_write
from scrimp.evidence.claims import Claim, load
from scrimp.evidence.lab import Lab
from scrimp.evidence.results import ArmResult, Result, Tried, digest
from scrimp.evidence.verdicts import judge, overall

__all__ = ["SEEDS", "Pool", "smoke", "try_claim"]

SEEDS = (0, 1, 2, 3, 4)
_SEARCH_SEEDS = (1000, 1001)
_EQUAL = 1.05  # arms may differ by this much in training work


@dataclass(frozen=True)
class Unit:
    """One arm with one seed."""

    path: Path
    digest: str
    arm: str
    point: Mapping[str, Any]
    seed: int
    smoke: bool


@dataclass(frozen=True)
class Spent:
    """The measures of a unit and what it took."""

    measures: dict[str, float]
    wall_s: float
    cpu_s: float
    forward: int
    backward: int
    peak_memory: int


class Pool:
    """Runs units in as many processes of one thread as there are cores; `seconds` of processor time were spent.

    Two commands at once take turns: what one has begun with a call of `run` is finished before the other goes on.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._threads = _one_thread_each()
        self._workers = ProcessPoolExecutor(os.cpu_count() or 1, mp_context=multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        self._threads.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._workers.shutdown(wait=error[0] is None, cancel_futures=True)
        self._threads.__exit__(*error)

    def run(self, what: str, units: Sequence[Unit]) -> list[Spent]:
        """The results, in the order of ``units``."""
        with cache().alone("cores"), bar(what, len(units)) as shown:
            waiting = [self._workers.submit(_kept, unit) for unit in units]
            for done in as_completed(waiting):
                self.seconds += done.result().cpu_s
                shown.advance()
        return [one.result() for one in waiting]


def try_claim(claim: Claim, pool: Pool, *, seeds: Sequence[int] = SEEDS,
              chosen: Mapping[str, Any] | None = None) -> Result:
    """Search each arm's options, run every arm with every seed, and judge.

    Args:
        claim: what is tried.
        pool: where the units run.
        seeds: the reported ones; at least five.
        chosen: arm -> options that an earlier search chose; without them, they are searched.

    Raises:
        GuardError: too few seeds, seeds that the search used, or arms at unequal cost without a reason.
    """
    if set(seeds) & set(_SEARCH_SEEDS):
        raise GuardError(f"seeds {_SEARCH_SEEDS} choose the options, and cannot be reported", where=claim.name)
    mark, before = digest(claim), pool.seconds
    searched = {} if chosen else _searched(claim, pool, mark)
    points = chosen or {arm: _best(claim, arm, tried) for arm, tried in searched.items()}
    units = [Unit(claim.path, mark, arm, points[arm], seed, False) for arm in claim.declared.arms for seed in seeds]
    given = pool.run(f"{claim.name}: seeds", units)
    spent = {(unit.arm, unit.seed): one for unit, one in zip(units, given, strict=True)}
    arms = {arm: _arm([spent[arm, seed] for seed in seeds], seeds, points[arm], searched.get(arm, ()))
            for arm in claim.declared.arms}
    _check_equal(claim, arms)
    scores = {arm: found.scores for arm, found in arms.items()}
    findings = tuple(judge(inequality, scores, seeds) for inequality in claim.inequalities())
    return Result(
        name=claim.name, family=claim.family, papers=claim.declared.papers, says=claim.declared.says,
        unequal=claim.declared.unequal, verdict=overall(findings), findings=findings, arms=arms, seeds=tuple(seeds),
        search_seeds=_SEARCH_SEEDS if any(searched.values()) else (), digest=mark, versions=_versions(),
        seconds=pool.seconds - before,
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")


def smoke(claim: Claim, pool: Pool) -> None:
    """Run every arm once at toy scale: its code works, and it gives every measure that the claim needs.

    Raises:
        ScrimpError: it does not.
    """
    mark, points = digest(claim), claim.declared.points
    units = [Unit(claim.path, mark, arm, points(arm)[0], 0, True) for arm in claim.declared.arms]
    spent = pool.run(f"{claim.name}: smoke", units)
    arms = {unit.arm: _arm([found], [0], unit.point, ()) for unit, found in zip(units, spent, strict=True)}
    _check_equal(claim, arms)


def _searched(claim: Claim, pool: Pool, mark: str) -> dict[str, tuple[Tried, ...]]:
    """What every point of every arm's search gave; a single point is not run."""
    asked = [Unit(claim.path, mark, arm, point, seed, False) for arm in claim.declared.arms
             for point in claim.declared.points(arm) for seed in _SEARCH_SEEDS if len(claim.declared.points(arm)) > 1]
    given = pool.run(f"{claim.name}: search", asked) if asked else []
    found: dict[str, tuple[Tried, ...]] = dict.fromkeys(claim.declared.arms, ())
    for at in range(0, len(asked), len(_SEARCH_SEEDS)):
        scores = [one.measures[claim.declared.tuned_for or ""] for one in given[at:at + len(_SEARCH_SEEDS)]]
        found[asked[at].arm] += (Tried(point=dict(asked[at].point), score=float(np.mean(scores))),)
    return found


def _best(claim: Claim, arm: str, tried: Sequence[Tried]) -> dict[str, Any]:
    if not tried:
        return claim.declared.points(arm)[0]
    way = 1 if claim.declared.better == "lower" else -1
    return min(tried, key=lambda one: way * one.score).point


def _arm(spent: Sequence[Spent], seeds: Sequence[int], point: Mapping[str, Any], tried: Sequence[Tried]) -> ArmResult:
    return ArmResult(
        options=dict(point), searched=tuple(tried),
        scores={seed: one.measures for seed, one in zip(seeds, spent, strict=True)},
        wall_s=_mean([one.wall_s for one in spent]), cpu_s=_mean([one.cpu_s for one in spent]),
        forward=round(_mean([one.forward for one in spent])), backward=round(_mean([one.backward for one in spent])),
        peak_memory=max(one.peak_memory for one in spent))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _check_equal(claim: Claim, arms: Mapping[str, ArmResult]) -> None:
    """Arms that are compared have done as much training, or the claim says why not."""
    if claim.declared.unequal:
        return
    for inequality in claim.inequalities():
        work = {arm: arms[arm].forward + 2 * arms[arm].backward for arm in inequality.arms}
        if max(work.values()) > _EQUAL * min(work.values()):
            raise GuardError("the arms are not at equal cost", where=f"{claim.name}: {inequality.text}",
                             why=", ".join(f"{arm} {count:,}" for arm, count in work.items()),
                             fix="train them equally long, or say in 'unequal' why that would be wrong")


def _kept(unit: Unit) -> Spent:
    """What a unit gave, from the cache if it was run before."""

    def make(folder: Path) -> None:
        atomic_write(folder / "spent.json", json.dumps(vars(_tried(unit))))

    asked = [unit.path.name, unit.digest, unit.arm, dict(unit.point), unit.seed, unit.smoke]
    return Spent(**json.loads((cache().step("evidence", asked, make) / "spent.json").read_text()))


def _tried(unit: Unit) -> Spent:
    import random

    import torch

    torch.set_num_threads(1)
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(unit.seed)
    claim, lab = load(unit.path), Lab(unit.seed, smoke=unit.smoke)
    measures = claim.measured(lab, unit.arm, unit.point)
    bill = lab.meter.close()
    return Spent(measures, bill.wall_s, bill.cpu_s, bill.tokens_forward, bill.tokens_backward, bill.peak_memory)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are started inside compute with one thread."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    was = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in was.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("scrimp", "torch", "transformers", "peft", "numpy", "scikit-learn")}
