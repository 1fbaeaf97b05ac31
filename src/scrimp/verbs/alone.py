"""One arm with one seed in a process of its own, so that its memory is its own, and what was left behind is nobody's.

The process ends, saved, when what it reads on its standard input ends: its parent closes that when a person asks to
stop, and the system closes it when the parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrimp.core import errors
from scrimp.core.budget import Bill, Budget, Meter
from scrimp.core.errors import BudgetError, ScrimpError, Stopped
from scrimp.core.interrupts import graceful, stop_if_requested, stop_requested
from scrimp.core.workspace import atomic_write
from scrimp.planning.comparison import Trial

if TYPE_CHECKING:
    from scrimp.recipes.calls import Call
    from scrimp.verbs.learn import Learn

__all__ = ["ANSWER", "main", "run"]

ANSWER = "answer.json"
_ASKED, _PREPARED = "asked.json", "prepared.json"
_MOST_TESTED = 400  # rows that all arms are measured on
_MAIN = "from scrimp.verbs.alone import main; main()"


def run(folder: Path, calls: Sequence[Call]) -> None:
    """Do the ``calls`` of one arm with one seed; leaves the trial, its rows and its predictions in ``folder``.

    Raises:
        Stopped: if a person asked to stop; the same call goes on from there.
        ScrimpError: what went wrong in the process, or that it was killed.
    """
    answer = folder / ANSWER
    answer.unlink(missing_ok=True)
    atomic_write(folder / _ASKED, json.dumps([[call.verb, call.options] for call in calls], default=str))
    quiet = {} if sys.warnoptions else {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen([sys.executable, "-c", _MAIN, str(folder)], stdin=subprocess.PIPE, start_new_session=True,
                          env={**os.environ, **quiet}) as process:
        assert process.stdin is not None
        while process.poll() is None:
            if stop_requested() and not process.stdin.closed:
                process.stdin.close()
            time.sleep(0.05)
    if not answer.exists():
        stop_if_requested()
        raise ScrimpError("the process of this run was ended from outside", where=str(folder),
                          why=f"exit code {process.returncode}", fix="it may have needed more memory than there is")
    if (failed := json.loads(answer.read_text(encoding="utf-8")).get("failed")) is not None:
        raise getattr(errors, failed.pop("kind"))(**failed)


def main() -> None:
    """What the process does: the calls that are written in the folder it is given."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    try:
        with graceful():
            said: dict[str, Any] = _answer(folder)
    except (ScrimpError, KeyboardInterrupt) as error:
        told = error if isinstance(error, ScrimpError) else Stopped("stopped")
        said = {"failed": {"kind": type(told).__name__, "what": told.what, "where": told.where, "why": told.why,
                           "fix": told.fix}}
    atomic_write(folder / ANSWER, json.dumps(said))


def _stop_at_end_of_input() -> None:
    while os.read(0, 1024):  # past the buffer of sys.stdin, which a waiting thread would hold when the process ends
        pass
    os.kill(os.getpid(), signal.SIGINT)


def _answer(folder: Path) -> dict[str, Any]:
    """The trial, and the rows and predictions that it was measured by."""
    from scrimp.verbs.learn import Learn
    from scrimp.verbs.run import STEPS, done

    asked = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
    *before, learn = (STEPS[verb].parse(options, where=verb) for verb, options in asked)
    prepared = folder / _PREPARED
    if not prepared.exists():  # a run that goes on has the budget that it had
        steps = list(done(before))
        bill, reading = sum((found.bill for found, _ in steps), Bill()), steps[-1][1] if steps else {}
        atomic_write(prepared, json.dumps({"bill": bill.model_dump(), "reading": reading}, default=str))
    left = json.loads(prepared.read_text(encoding="utf-8"))
    spent = Bill.parse(left["bill"])
    assert isinstance(learn, Learn)
    given = {**left["reading"], "budget": _less(learn.budget, spent)}
    return _measured(learn.model_copy(update=given), spent)


def _less(limit: Budget, spent: Bill) -> Budget:
    """What is left of the time."""
    if limit.time is None:
        return limit
    if (left := limit.time - spent.wall_s) <= 0:
        raise BudgetError("the rows were not prepared within the time", why=f"that took {spent.wall_s:.0f} s",
                          fix="declare a longer --budget")
    return limit.model_copy(update={"time": left})


def _measured(learn: Learn, before: Bill) -> dict[str, Any]:
    """Learn, and measure what was learned on the rows that are the same for all arms."""
    from datetime import UTC, datetime

    from scrimp.core.registry import build
    from scrimp.planning.material import gather
    from scrimp.planning.timing import shuffled
    from scrimp.serving.predictors import load_predictor

    outcome, meter = learn.done(), Meter()
    best, test = outcome.best, gather(learn).test
    if test is None:
        raise errors.DataError("there are no rows to measure on", fix="name data.test in the recipes")
    rows = shuffled(test, 0).subset(range(min(len(test), _MOST_TESTED)))
    said = load_predictor(learn.out / "model").predict(rows.rows, meter=meter)
    quality = build("metric", outcome.asked["metric"]).measure(said, rows.rows)
    config = learn.out / "model" / "adapter_config.json"
    others = sum((rung.bill for rung in outcome.rungs if rung is not best), Bill())
    whole = outcome.bill.less(others, peak=best.bill.peak_memory) if _one_way(learn) else outcome.bill
    meter.close()
    trial = Trial(
        seed=learn.seed, quality=quality, rung=best.model_copy(update={"curve": best.curve[-1:]}), bill=before + whole,
        spent=before + outcome.bill + meter.bill(), tested=rows.fingerprint, train_rows=outcome.data.train_rows,
        adapter=json.loads(config.read_text(encoding="utf-8")) if config.exists() else None,
        created=datetime.now(UTC).isoformat(timespec="seconds"))
    return {"trial": trial.model_dump(mode="json"), "rows": [dict(row) for row in rows.rows], "said": said}


def _one_way(learn: Learn) -> bool:
    """Whether nothing is chosen among ways: what stands beside the one is for its report alone."""
    rungs = getattr(learn, "rungs", ("the one that is spelt out",))
    return rungs is not None and len(rungs) == 1
