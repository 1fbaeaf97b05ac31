"""Comparisons as real ones leave them: one that shows a difference, one that shows none, and one that was cut short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scrimp.core.budget import Bill
from scrimp.evaluation.outcome import CurvePoint, Retention, Rung, Score
from scrimp.planning.comparison import Arm, Comparison, Trial, Try, compared

KINDS = {"untouched": "untouched", "word-counts": "control"}


def score(value: float, n: int = 400) -> Score:
    return Score(metric="accuracy", value=value, low=value - 0.04, high=value + 0.04, n=n)


def trial(name: str, seed: int, value: float, *, seconds: float = 10.0, tested: str = "rows") -> Trial:
    kind: Any = KINDS.get(name, "adapted")
    forgot = Retention(measure="general-text loss", before=3.0, after=3.1, low=0.05, high=0.15)
    bill = Bill(wall_s=seconds, peak_memory=700 << 20, tokens_backward=5000)
    rung = Rung(name="lora" if kind == "adapted" else name, title=f"LoRA of {name}" if kind == "adapted" else name,
                kind=kind, bill=bill, retention=forgot if kind == "adapted" else None,
                ship_bytes=int(seconds * 1000), trainable=4096,
                curve=(CurvePoint(step=9, seconds=1, loss=0.5, learning_rate=1e-4),) if kind == "adapted" else ())
    return Trial(seed=seed, quality=score(value), rung=rung, bill=bill, spent=bill, tested=tested, train_rows=64,
                 created="2026-01-01T00:00:00+00:00", adapter={"peft_type": "LORA"} if kind == "adapted" else None)


def arm(name: str, values: Sequence[float], *, seconds: float = 10.0, **rest: Any) -> Arm:
    made = tuple(trial(name, seed, value, seconds=seconds) for seed, value in enumerate(values))
    kind: Any = KINDS.get(name, "adapted")
    return Arm(name=name, kind=kind, title=f"LoRA of {name}", model="smollm2-135m",
               recipe=f"{name}.yaml" if kind == "adapted" else None, trials=made, **rest)


def record(*arms: Arm, rows: float = 0.01) -> Comparison:
    """Of arms; the interval over rows of any two is ``rows`` wide."""
    return compared(arms, lambda one, other, seed: (0.0, rows), asked={"recipes": [a.name for a in arms]},
                    seeds=(0, 1, 2, 3, 4), tries=1, bill=Bill(wall_s=100.0, peak_memory=1 << 30),
                    parts={a.name: Bill(wall_s=20.0) for a in arms}, environment={"processor": "a processor"})


def shown() -> Comparison:
    tried = (Try(point={"learning_rate": 0.001}, score=0.7), Try(point={"learning_rate": 0.1}, failed="NaN"))
    return record(arm("good", (0.80, 0.81, 0.79, 0.80, 0.80), seconds=60, tried=tried,
                      chosen={"learning_rate": 0.001}),
                  arm("poor", (0.70, 0.71, 0.70, 0.69, 0.70), seconds=30),
                  arm("untouched", (0.5,) * 5, seconds=5), arm("word-counts", (0.6,) * 5, seconds=1))


def equal() -> Comparison:
    return record(arm("one", (0.80, 0.70, 0.79, 0.72, 0.81), seconds=60),
                  arm("other", (0.72, 0.80, 0.70, 0.81, 0.75), seconds=20), arm("untouched", (0.5,) * 5, seconds=5))


def cut_short() -> Comparison:
    return record(arm("one", (0.8,)), arm("other", (), failed={0: "no time", 1: "no time"}), arm("untouched", (0.5,)))


def hostile(attacks: Sequence[str]) -> Comparison:
    """Every title, name of a recipe, failure and warning is an attack."""
    arms = [arm(f"a{i}", (0.6, 0.7), failed={2: attack}, tried=(Try(point={attack: attack}, failed=attack),),
                chosen={attack: attack}).model_copy(update={"title": attack, "recipe": attack, "model": attack})
            for i, attack in enumerate(attacks)]
    return record(*arms).model_copy(update={"warnings": tuple(attacks), "advice": attacks[0],
                                            "asked": {attack: attack for attack in attacks},
                                            "environment": {attack: attack for attack in attacks}})


ALL = {"comparison": shown, "comparison-equal": equal, "comparison-cut-short": cut_short}
