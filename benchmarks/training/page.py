"""The page of the documentation that shows what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.training.plot import drawing, roof_over
from scrimp.core.workspace import atomic_write

__all__ = ["page", "publish"]

_DRAWING = "training.svg"

_INTRODUCTION = """# Training, beside others

Written by `make bench`; nothing here is typed. LoRA of rank 8 on all linear layers of SmolLM2-135M in bfloat16, real
newsgroup posts, AdamW steps included. Each engine runs in a process of its own, a round of each in turn; the first step
of a round is not counted, and the figures are medians. Tokens are those of the rows without padding, whatever an
engine computes. Memory is the process's highest resident size over what it held with the model loaded. The roof is what
products of 2048 x 2048 reached on this machine in that run; what is needed are the products with frozen weights, of
tokens that rows have in common once. TRL runs unpacked and without activation checkpointing, which is its fastest here,
unless its line says otherwise. Nothing of this was run on a GPU.
"""


def publish(found: dict[str, Any], docs: Path) -> str:
    """Write the drawing into the documentation's folder, and return the page."""
    atomic_write(docs / _DRAWING, drawing([run for run in found["runs"] if run["threads"] == 1]))
    return page(found)


def page(found: dict[str, Any]) -> str:
    """Markdown, from what `make bench` measured."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    parts = [_INTRODUCTION, f"Versions: {versions}. Largest relative error of all adapter gradients in float32, "
             f"against padded batches: {found['max_gradient_error_fp32']:.1e}.",
             f"![tokens a second over TRL's, with one thread]({_DRAWING})",
             "The broken lines are where scrimp would be if its products with frozen weights ran at the roof and "
             "nothing else had to be done."]
    for run in found["runs"]:
        threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
        parts.append(f"## {run['workload']}, {threads}\n\n{run['what'].capitalize()}. "
                     f"Roof: {run['matmul_peak'] / 1e9:.0f} GFLOP/s. Steps timed of each engine: "
                     f"{len(run['engines']['TRL']['seconds'])}. At the roof, with nothing but those products to do, "
                     f"scrimp would have {roof_over(run):.1f} times TRL's tokens a second.")
        parts.append("\n".join(_table(run)))
    if "curves" in found:
        parts.append(_curves(found["curves"]))
    if "quality" in found:
        parts.append(_quality(found["quality"]))
    return "\n\n".join(parts) + "\n"


def _curves(found: dict[str, Any]) -> str:
    rows = ["| path | loss of held-out rows | mean difference of a step's loss from the usual path's | seconds |",
            "|---|--:|--:|--:|"]
    rows += [f"| {name} | {run['held_out']:.4f} | {found['mean_difference_from_usual'][name]:.4f} "
             f"| {run['seconds']:.0f} |" for name, run in found["runs"].items()]
    return (f"## One training on both paths\n\n{found['steps']} steps on posts of up to 48 tokens, four a step, the "
            "same rows in the same order. How far rounding alone carries a training is shown by the usual path with "
            "micro-batches of another size.\n\n" + "\n".join(rows))


def _quality(found: dict[str, Any]) -> str:
    rows = ["| task | metric | test rows | fast path, by seed | usual path, by seed | fast over usual, 95 % |",
            "|---|---|--:|---|---|---|"]
    for one in found.values():
        fast, usual = (", ".join(f"{value:.3f}" for value in one[path]) for path in ("fast", "usual"))
        ahead = one["ahead"]
        rows.append(f"| {one['what']} | {one['metric']} | {one['tested']} | {fast} | {usual} "
                    f"| {ahead['value']:+.3f} ({ahead['low']:+.3f} to {ahead['high']:+.3f}) |")
    return "## What both paths tune\n\nThe difference is paired by test row.\n\n" + "\n".join(rows)


def _table(run: dict[str, Any]) -> list[str]:
    usual = run["engines"]["TRL"]
    rows = ["| engine | tokens/s | over TRL | of the roof | memory over rest | of TRL's |", "|---|--:|--:|--:|--:|--:|"]
    return rows + [
        f"| {engine} | {one['tokens_per_s']:.0f} | {one['tokens_per_s'] / usual['tokens_per_s']:.1f} x "
        f"| {one['flops_per_s'] / run['matmul_peak']:.0%} | {one['peak_over_rest'] >> 20} MiB "
        f"| {one['peak_over_rest'] / usual['peak_over_rest']:.2f} |" for engine, one in run["engines"].items()]
