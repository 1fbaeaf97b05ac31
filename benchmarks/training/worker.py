"""One engine on one workload, in a process of its own: trains a round of steps whenever it is asked to.

    python -m benchmarks.training.worker ENGINE WORKLOAD THREADS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

STEPS = 3  # of a round; the first, which warms up, is not counted


def main(engine: str, workload: str, threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    import torch

    from benchmarks.training.engines import ENGINES
    from benchmarks.training.workloads import needed_flops, rows
    from scrimp.checkpoints.loading import load, resolve

    torch.set_num_threads(threads)
    loaded = load(resolve("smollm2-135m"), dtype="bfloat16")
    batch = rows(workload, loaded.tokenizer)
    needed = needed_flops(loaded.model, batch)
    train = ENGINES[engine](loaded, batch)
    rest = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size is counted from here

    def tell(**facts: object) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    tell(tokens=sum(row.tokens for row in batch), needed_flops=needed)
    for _ in sys.stdin:
        tell(seconds=train(STEPS)[1:], memory=resident("VmHWM") - rest)


def resident(name: str) -> int:
    """Bytes, of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
