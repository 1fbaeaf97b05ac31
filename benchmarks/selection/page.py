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
_APART = "apart, of a gradient's length"
_SIGNALS = _HERE.parent / "signals"
_INTRODUCTION = """# Choosing rows, beside others

From what `python -m benchmarks.selection.coverage`, `benchmarks.selection.labelnoise` and, of `benchmarks.signals`,
`gradients`, `scale` and `peers` wrote down; `python -m benchmarks.page` makes this page of it."""


def page() -> str:
    """Markdown, of those benchmarks that have been run."""
    parts: dict[Path, Callable[[dict[str, Any]], list[str]]] = {
        _HERE / "results.json": coverage, _HERE / "labelnoise.json": labels, _SIGNALS / "gradients.json": gradients,
        _SIGNALS / "scale.json": passes, _SIGNALS / "peers.json": influence}
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


def gradients(found: dict[str, Any]) -> list[str]:
    rows = [[one["layers"], one["tokens"], one["trained"], one["rows at once"], f"{one['loop, examples a second']:.2f}",
             f"{one['packed, examples a second']:.2f}", f"{one['times']:.2f}",
             f"{one['projection, ms an example']:.2f}", f"{one[_APART]:.3f}"]
            for one in found["speed"]]
    return ["## Gradients row by row",
            "SmolLM2-135M in bfloat16 with LoRA of rank 8 on all linear layers, projected to 8192 numbers: rows packed "
            "into one backward pass beside a loop with a batch of one, in turn in one process, medians; threads: "
            f"{found['threads']}. Seconds are those {found['seconds']}. Trained are the last three quarters of a row "
            "(text) or its last five tokens (answer). In float32 the two ways differ by "
            f"{found['largest relative error in float32']:.1e} of a gradient's length at most. torch {found['torch']}.",
            _table(["layers", "tokens a row", "trained", "rows at once", "loop, examples/s", "packed, examples/s",
                    "times", "projection, ms an example", "apart in bfloat16"], rows)]


def passes(found: dict[str, Any]) -> list[str]:
    rows = [[name, *(f"{one['peak']:.0f} MiB" for one in got["unbroken"]), f"{got['growth of the peak']:+.1%}",
             got["killed"]["rows computed again"], "yes" if got["killed"]["same bits"] else "no"]
            for name, got in found["signals"].items()]
    return ["## Passes over many rows",
            f"Rows of {found['words a row']} words, the lab's language model and, of embeddings, the encoder "
            f"{found['encoder']}; each pass in a process of its own, unbroken and again killed {found['kills']} times. "
            f"torch {found['torch']}.",
            _table(["signal", *(f"peak memory, {count} rows" for count in found["rows"]), "growth",
                    "rows computed again", "same bits"], rows)]


def influence(found: dict[str, Any]) -> list[str]:
    asked = found["settings"]
    rows = [[name, one["kept"], one["precision"], f"{one['examples a second']:.2f}", f"{one['memory'] >> 20} MiB",
             f"{one['pearson']:.3f}", f"{one['spearman']:.3f}"] for name, one in summary(found).items()]
    return ["## Influence by gradients", "SmolLM2-135M with LoRA of rank 8 on all linear layers: the cosine of the "
            f"gradients of {asked['rows']} rows of {asked['tokens']} tokens with those of {asked['asked']} others, one "
            f"thread, seconds of the processor, medians of {asked['rounds']} rounds in turn. Memory "
            "is what each took at most, the model aside; correlations are those with exact cosines. "
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
