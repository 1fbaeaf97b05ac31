"""What was measured of choosing rows, as the part of the documentation's page on benchmarks that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.selection.labelnoise import compared
from benchmarks.signals.peers import summary
from scrimp.evaluation.statistics import t_interval

__all__ = ["page"]

_HERE = Path(__file__).parent
_INTRODUCTION = """# Choosing rows, beside others

From what `python -m benchmarks.selection.coverage`, `benchmarks.selection.labelnoise` and `benchmarks.signals.peers`
wrote down; `python -m benchmarks.page` makes this page of it."""


def page() -> str:
    """Markdown, of those benchmarks that have been run."""
    parts: dict[Path, Callable[[dict[str, Any]], list[str]]] = {
        _HERE / "results.json": coverage, _HERE / "labelnoise.json": labels,
        _HERE.parent / "signals" / "peers.json": influence}
    told = [part for file, section in parts.items() if file.exists() for part in section(json.loads(file.read_text()))]
    return "\n\n".join([_INTRODUCTION, *told]) + "\n"


def coverage(found: dict[str, Any]) -> list[str]:
    told = ["## Facility location",
            "Rows are kept that cover embedded sentences, each repeated with a jitter. The value is the mean likeness "
            "of a row to the nearest that is kept; over chance is the share that is reached of what exact greedy adds "
            f"to rows drawn by chance. {_versions(found)}"]
    for label, choices in found["runs"].items():
        chance, best = choices["chance"]["value"], choices.get("exact", {}).get("value")
        rows = [[name, f"{got['seconds']:.1f}", f"{got['peak_bytes'] / 2**30:.2f} GiB", f"{got['value']:.4f}",
                 f"{(got['value'] - chance) / (best - chance):.1%}" if best else "", got["threads"]]
                for name, got in choices.items()]
        told += [f"### {label}", _table(["choice", "seconds", "peak memory", "value", "over chance", "threads"], rows)]
    return told


def labels(found: dict[str, Any]) -> list[str]:
    rows = {way: [[pool, flip, *_beside(compared(runs, way))] for pool, flips in found["runs"].items()
                  for flip, runs in flips.items()] for way in ("same probabilities", "each as it comes")}
    head = ["rows", "mistakes planted", "precision, scrimp", "of cleanlab's set", "difference, 95 %",
            "average precision, scrimp", "cleanlab", "difference, 95 %"]
    asked = found["settings"]
    return ["## Wrong labels",
            f"{asked['rows']} rows of each pool and seed, {len(asked['seeds'])} seeds, differences paired by seed. "
            "Precision is that of the rows that are trusted least, as many as hold as many of the planted mistakes as "
            "the set that cleanlab names; average precision is that of the ranking. Labels that were wrong before "
            f"count as right for both. {_versions(found)}",
            *(part for way, lines in rows.items() for part in (f"### {way.capitalize()}", _table(head, lines)))]


def influence(found: dict[str, Any]) -> list[str]:
    asked = found["settings"]
    rows = [[name, one["kept"], one["precision"], f"{one['examples a second']:.2f}", f"{one['memory'] >> 20} MiB",
             f"{one['pearson']:.3f}", f"{one['spearman']:.3f}"] for name, one in summary(found).items()]
    return ["## Influence by gradients", "SmolLM2-135M with LoRA of rank 8 on all linear layers: the cosine of the "
            f"gradients of {asked['rows']} rows of {asked['tokens']} tokens with those of {asked['asked']} others, one "
            f"thread, medians of {asked['rounds']} rounds in turn. Memory is what each took at most, the model aside; "
            "correlations are those with exact cosines. "
            f"{_versions(found)}",
            _table(["engine", "numbers kept", "precision", "examples/s", "memory", "Pearson", "Spearman"], rows)]


def _beside(differences: Mapping[str, tuple[list[float], list[float]]]) -> list[str]:
    cells = []
    for measure in ("precision, cleanlab's set", "average precision, cleanlab"):
        ours, theirs = differences[measure]
        low, high = t_interval(np.subtract(ours, theirs).tolist())
        cells += [f"{np.mean(ours):.3f}", f"{np.mean(theirs):.3f}",
                  f"{np.mean(ours) - np.mean(theirs):+.3f} ({low:+.3f} to {high:+.3f})"]
    return cells


def _versions(found: dict[str, Any]) -> str:
    return f"Versions: {', '.join(f'{name} {version}' for name, version in found['versions'].items())}."


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
