"""Silent faults, planted one at a time: each makes the product do something wrong without a word; a guard must speak.

A fault is a function that is put in the place of one of the product's, or a file that is not what it was; then the verb
is run. It is *caught* if a clear error comes before a result counts, or *warned of* if the result says so itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from tests.torture.commands import server
from tests.torture.faults.checkpoints import CHECKPOINTS
from tests.torture.faults.data import DATA
from tests.torture.faults.measuring import MEASURING
from tests.torture.faults.planting import At, Fault
from tests.torture.faults.serving import SERVING
from tests.torture.faults.training import TRAINING
from tests.torture.record import Kept, Trial

__all__ = ["FAULTS", "Fault", "run", "tried"]

_LONGEST_S = 600.0
FAULTS = (*DATA, *TRAINING, *CHECKPOINTS, *SERVING, *MEASURING)


def tried(fault: Fault, good: Path, folder: Path) -> tuple[str, str]:
    """``caught``, ``warned`` or ``not caught``, and what was said."""
    from scrimp.core.errors import ScrimpError
    from scrimp.core.progress import quiet

    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"SCRIMP_WORKSPACE": str(folder / "space"), "SCRIMP_CACHE": str(good.parent / "cache")}
    try:
        with quiet():
            found = fault.try_it(At(good, folder))
    except ScrimpError as error:
        told = error.told()
        return ("caught" if re.search(fault.says, told) else "caught otherwise"), told[:300]
    told = found.model_dump_json() if hasattr(found, "model_dump_json") else ""
    said = [*json.loads(told).get("warnings", []),
            *(rung.get("computed") or "" for rung in json.loads(told)["rungs"])] \
        if told else []
    heard = next((one for one in said if re.search(fault.says, one)), None)
    return ("warned", heard[:300]) if heard else ("not caught", "; ".join(said)[:300])


def _within(index: int, good: str, folder: str) -> None:
    log = open(Path(folder).with_suffix(".log"), "w")  # noqa: SIM115 - for as long as the process lives
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    told = tried(FAULTS[index], Path(good), Path(folder))
    Path(folder).with_suffix(".json").write_text(json.dumps(told))
    log.flush()
    os._exit(0)


def run(good: Path, place: Path, kept: Kept, *, only: str | None = None) -> None:
    """Plant all faults, each in a process of its own, less those that were planted before."""
    made, done = server(), kept.names()
    for index, fault in enumerate(FAULTS):
        if ("faults", fault.name) in done or (only and only not in fault.name):
            continue
        folder = place / "faults" / str(index)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        folder.with_suffix(".json").unlink(missing_ok=True)
        process = made.Process(target=_within, args=(index, str(good), str(folder)))
        process.start()
        process.join(_LONGEST_S)
        process.kill()
        answer = folder.with_suffix(".json")
        log = folder.with_suffix(".log")
        outcome, told = json.loads(answer.read_text()) if answer.exists() else (
            "broken", log.read_text(errors="replace")[-400:] if log.exists() else "")
        kind = {"caught": "refused", "caught otherwise": "refused", "warned": "refused"}.get(outcome, "failed")
        kept.add(Trial("faults", fault.name, kind, told, {"guard": fault.guard, "outcome": outcome}))  # type: ignore[arg-type]
        shutil.rmtree(folder, ignore_errors=True)
        print(f"faults: {fault.name}: {outcome}: {told[:160]!r}", flush=True)
