"""Runs in trackers that people have already: curves while a model is trained, and what came of it.

A tracker is a guest: it is asked for before anything is spent, and from then on nothing that it does or fails to do can
stop or delay the run. Its client is called by a thread of its own.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import Context
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, ClassVar

from scrimp.core.errors import OptionError
from scrimp.core.listeners import listening
from scrimp.core.progress import warn

if TYPE_CHECKING:
    from scrimp.evaluation.outcome import Outcome, Score

__all__ = ["FOLDER", "TRACKERS", "Tracker", "configuration", "findings", "require", "tracked"]

FOLDER = "tracking"  #: beside the results: what trackers keep in files of the run's own
_PROJECT = "scrimp"
_WAITING = 10_000  # messages that a slow tracker may be behind; further ones are lost
_LAST_WORDS_S = 30.0  # for a tracker to write what it still has when the run is over
_VERSIONS = ("scrimp", "torch", "transformers", "peft")


class Tracker(ABC):
    """One tracker's client.

    Attributes:
        name: by which it is asked for.
        packages: what must be installed.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    @abstractmethod
    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        """Open a run; what is kept in files goes into ``folder``, if the person has not said where else."""

    @abstractmethod
    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step."""

    @abstractmethod
    def end(self, numbers: Mapping[str, float], words: Mapping[str, str], *, finished: bool) -> None:
        """What came of the run, and that it is over."""


class TensorBoard(Tracker):
    """Event files in ``tracking/tensorboard``."""

    name, packages = "tensorboard", ("tensorboard",)

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / self.name))
        self._writer.add_text("configuration", _table(config))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, numbers: Mapping[str, float], words: Mapping[str, str], *, finished: bool) -> None:
        self.log(0, numbers)
        if words:
            self._writer.add_text("findings", _table(words))
        self._writer.close()


class MLflow(Tracker):
    """A run in the store that ``MLFLOW_TRACKING_URI`` names, or else in ``tracking/mlflow.db``."""

    name, packages = "mlflow", ("mlflow",)

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        self._client, project = MlflowClient(tracking_uri=store), os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(
            project, artifact_location=None if os.environ.get("MLFLOW_TRACKING_URI") else "artifacts")
        self._run = self._client.create_run(experiment, run_name=title).info.run_id
        for name, value in config.items():
            self._client.log_param(self._run, name, str(value)[:500])

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        named = [Metric(_worded(name), value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._run, metrics=named)

    def end(self, numbers: Mapping[str, float], words: Mapping[str, str], *, finished: bool) -> None:
        if numbers:
            self.log(0, numbers)
        for name, value in words.items():
            self._client.set_tag(self._run, name, value[:500])
        self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")


class Wandb(Tracker):
    """A run in Weights & Biases; its mode, project and account are what the ``WANDB_`` variables say."""

    name, packages = "wandb", ("wandb",)

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        # what it would tell of the machine, its user, its folders and the command line is not ours to give away
        unsaid = wandb.Settings(console="off", disable_code=True, disable_git=True, save_code=False, silent=True,
                                x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True)
        self._run: Any = wandb.init(project=os.environ.get("WANDB_PROJECT", _PROJECT), name=title, dir=str(folder),
                                    config=dict(config), settings=unsaid)
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "step": step})  # its own count of steps does not go back, as another training's does

    def end(self, numbers: Mapping[str, float], words: Mapping[str, str], *, finished: bool) -> None:
        self._run.summary.update({**numbers, **words})
        self._run.finish(exit_code=0 if finished else 1)


class Trackio(Tracker):
    """A run in Trackio's own store, which ``trackio show`` reads, or where the ``TRACKIO_`` variables say."""

    name, packages = "trackio", ("trackio",)

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            self._run: Any = Context().run(  # else it would end a run that the person has open
                trackio.init, project=os.environ.get("TRACKIO_PROJECT", _PROJECT), name=title, config=dict(config),
                embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def end(self, numbers: Mapping[str, float], words: Mapping[str, str], *, finished: bool) -> None:
        if numbers or words:
            self._run.log({**numbers, **words})
        with redirect_stdout(sys.stderr):
            self._run.finish()


TRACKERS: dict[str, type[Tracker]] = {one.name: one for one in (TensorBoard, MLflow, Wandb, Trackio)}


def require(names: Sequence[str]) -> None:
    """Raise an OptionError unless the packages of these trackers are installed."""
    for name in names:
        if missing := [one for one in TRACKERS[name].packages if importlib.util.find_spec(one) is None]:
            raise OptionError(f"{name} is not installed", where="track", why=f"there is no package '{missing[0]}'",
                              fix="pip install 'scrimp[tracking]', or leave out --track")


@contextmanager
def tracked(names: Sequence[str], request: Any) -> Iterator[Callable[[Outcome], None]]:
    """Within the block what is trained is told to the trackers; the yielded function tells them what came of it.

    Args:
        names: of trackers that are installed, see `require`.
        request: the options of the verb.

    Raises:
        OptionError: a tracker cannot be begun; nothing has been spent then.
    """
    folder, config = Path(request.out) / FOLDER, configuration(request) if names else {}
    guests = [_Guest(_begun(name, folder, Path(request.out).absolute().name, config)) for name in names]

    def hear(training: str, step: int, numbers: Mapping[str, float]) -> None:
        named = {f"{training}/{name}": value for name, value in numbers.items()}
        for guest in guests:
            guest.tell(lambda tracker: tracker.log(step, named))

    found: list[Outcome] = []
    try:
        with listening(hear):
            yield found.append
    finally:
        numbers, words = findings(found[0]) if found else ({}, {})
        for guest in guests:
            guest.tell(lambda tracker: tracker.end(numbers, words, finished=bool(found)))
        until = time.monotonic() + _LAST_WORDS_S
        for guest in guests:
            guest.leave(until)


def _begun(name: str, folder: Path, title: str, config: Mapping[str, Any]) -> Tracker:
    tracker = TRACKERS[name]()
    try:
        tracker.begin(folder, title, config)
    except Exception as error:
        raise OptionError(f"{name} cannot be begun", where="track", why=" ".join(str(error).split())[:400],
                          fix="put right what it says, or leave out --track") from None
    return tracker


class _Guest:
    """A tracker with a thread of its own: whoever tells it something does not wait."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker, self._lost = tracker, False
        self._told: Queue[Callable[[Tracker], None] | None] = Queue(_WAITING)
        self._thread = threading.Thread(target=self._listen, daemon=True, name=f"scrimp-{tracker.name}")
        self._thread.start()

    def tell(self, what: Callable[[Tracker], None] | None) -> None:
        """What it is to do next; None if that was all."""
        if self._lost:
            return
        try:
            self._told.put_nowait(what)
        except Full:
            self._lose("it is too slow")

    def leave(self, until: float) -> None:
        """Wait for what it has still to write, until ``until`` of the monotonic clock and no longer."""
        self.tell(None)
        if self._lost:
            return
        self._thread.join(max(until - time.monotonic(), 0.0))
        if self._thread.is_alive():
            self._lose("it did not finish in time")

    def _listen(self) -> None:
        while (what := self._told.get()) is not None and not self._lost:
            try:
                what(self._tracker)
            except BaseException as error:  # some clients end the process where they should raise
                self._lose(" ".join(str(error).split())[:200] or type(error).__name__)

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            warn(f"{self._tracker.name} is told no more, and the run goes on: {why}")


def configuration(request: Any) -> dict[str, Any]:
    """What was asked, flat; of paths the last name only, and nothing of the environment but versions."""
    asked = request.model_dump(mode="json", exclude={"out", "workspace", "force", "data", "test", "unlabelled"})
    data = {name: _source(getattr(request, name)) for name in ("data", "test")}
    return dict(_flat({"verb": request.named(), **data, **asked, "versions": _versions()}))


def _source(given: Any) -> str | None:
    return given if given is None or isinstance(given, str) else f"{len(given)} rows in memory"


def _flat(given: Mapping[str, Any], under: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{under}{name}.")
        elif value is not None:
            yield f"{under}{name}", _placeless(value)


def _placeless(value: Any) -> Any:
    """Without the folders of a path, which name people and machines."""
    if isinstance(value, list | tuple):
        return ", ".join(str(_placeless(one)) for one in value)
    if not isinstance(value, str) or value.startswith("hub:"):
        return value
    placed = os.path.isabs(value) or value.startswith(("~", "..")) or os.path.exists(value)
    return Path(value).name if placed else value


def _versions() -> dict[str, str]:
    found = {}
    for package in _VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def findings(outcome: Outcome) -> tuple[dict[str, float], dict[str, str]]:
    """What a run found, as numbers and as words: every way's scores with their intervals, retention, and bills."""
    numbers: dict[str, float] = {f"bill/{name}": value for name, value in outcome.bill.model_dump().items()}
    if outcome.expected is not None:
        numbers |= _scored("expected", outcome.expected)
    for rung in outcome.rungs:
        if rung.skipped is not None:
            continue
        if rung.validation is not None:
            numbers |= _scored(f"{rung.name}/validation", rung.validation)
        for score in rung.test:
            numbers |= _scored(f"{rung.name}/test", score)
        if (kept := rung.retention) is not None:
            numbers |= {f"{rung.name}/retention/{name}": value for name, value in (
                ("before", kept.before), ("after", kept.after), ("change_low", kept.low), ("change_high", kept.high))}
        numbers |= {f"{rung.name}/bill/{name}": value for name, value in rung.bill.model_dump().items()}
        numbers |= {f"{rung.name}/trainable": rung.trainable, f"{rung.name}/ship_bytes": rung.ship_bytes}
    return ({name: float(value) for name, value in numbers.items()},
            {"winner": outcome.winner, "why": outcome.why, "warnings": str(len(outcome.warnings))})


def _scored(under: str, score: Score) -> dict[str, float]:
    return {f"{under}/{score.metric}": score.value, f"{under}/{score.metric}/low": score.low,
            f"{under}/{score.metric}/high": score.high}


def _table(facts: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {str(value).replace('|', ' ')} |" for name, value in facts.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _worded(name: str) -> str:
    """With the signs alone that MLflow takes in a name."""
    return "".join(sign if sign.isalnum() or sign in "_-. :/" else "_" for sign in name)
