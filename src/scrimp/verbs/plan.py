"""What something would cost, before it is done: `plan`."""

from __future__ import annotations

from pydantic import Field

from scrimp.core.budget import Bill, Meter
from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Options, Seconds
from scrimp.planning.ways import Way
from scrimp.recipes.fields import Based, Controls, Names, Reading, Seed, Source
from scrimp.verbs.base import Verb

__all__ = ["Plan", "Planned"]


class Planned(Options):
    """What each way would cost.

    Attributes:
        ways: in the order in which they were asked for.
        rows, workers: for so many.
        assumed: what is taken for granted, in words.
        bill: of finding that out.
    """

    ways: tuple[Way, ...]
    rows: int
    workers: int
    assumed: tuple[str, ...]
    bill: Bill


class Plan(Verb, Reading, Based, Controls):
    """Say beforehand what each way would cost: seconds with an error bar, and bytes on the disk.

    Some of your rows are passed over for a moment on this machine, and the rest is computed from that: what a signal of
    all of them would take, or of many more rows like them, by one worker or by many.
    """

    positional = ("data",)
    examples = (
        "scrimp plan pool.jsonl",
        "scrimp plan pool.jsonl --signal gradients --rows 10000000 --workers 64",
        "scrimp plan pool.parquet --signal embeddings,losses --probe 30s --json",
    )

    data: Source = Field(description="The rows: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    signal: Names | None = Field(None, description=(
        "Which signals, with commas: embeddings, losses, gradients; without it, all."))
    rows: int | None = Field(None, ge=1, description="For so many rows like these; without it, for these.")
    workers: int = Field(1, ge=1, description="For so many workers, each a process like this one.")
    probe: Seconds = Field(10.0, description="Time for measuring each signal.")
    width: int = Field(256, ge=1, description="Numbers that are kept of each gradient.")
    parameters: str = Field(".*", description="Of which parameters gradients are taken: a pattern for their names.")
    seed: Seed = Field(0, description="Of the rows that are measured.")

    def do(self) -> Planned:
        from scrimp.core.ledger import environment
        from scrimp.examples.formats import read
        from scrimp.planning.passes import SIGNALS, Asked, foreseen

        names = self.signal or tuple(SIGNALS)
        if unknown := [name for name in names if name not in SIGNALS]:
            raise OptionError(f"there is no signal '{unknown[0]}'; {nearest(unknown[0], SIGNALS)}", where="signal")
        examples, meter = read(self.data, layout=self.layout, columns=self.columns, on_bad_row=self.on_bad_row,
                               require_target=False), Meter()
        asked = Asked(encoder=self.encoder, model=self.model, parameters=self.parameters, width=self.width,
                      seed=self.seed, seconds=self.probe)
        rows = self.rows or len(examples)
        ways = tuple(foreseen(name, SIGNALS[name](examples, asked, meter), rows, self.workers) for name in names)
        here = environment()
        return Planned(ways=ways, rows=rows, workers=self.workers, bill=meter.close(), assumed=(
            f"a worker is as fast as this process ({here['processor']}, threads: {here['threads']}, {here['device']})",
            "twice the workers take half the time to compute; one process prepares the rows for all of them",
            f"the rows are like the {len(examples)} that were read",
            "the interval is of the sample alone, not of what else runs on a machine"))
