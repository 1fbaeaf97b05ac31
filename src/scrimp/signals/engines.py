"""Where passes are computed: in this process, or by Ray's actors on one machine or many."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Generator, Sequence
from typing import Any

from scrimp.core.errors import OptionError, ScrimpError, WorkspaceError
from scrimp.signals.passes import Engine, Found, Pass, local

__all__ = ["engine_named"]

_BLOCKS = 1000  # of batches, each handed to a worker as one
_REACH_S = 5.0
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


def engine_named(name: str, *, address: str | None = None, workers: int | None = None) -> Engine:
    """The engine of that name.

    Args:
        name: "local", or "ray".
        address: of a Ray cluster; without one, Ray is started on this machine for as long as this process lasts.
        workers: Ray's actors, each with a model of its own; as many as there are processors if left out.

    Raises:
        OptionError: there is no such engine, an option is not for it, or Ray is not installed.
    """
    if name == "ray":
        return _ray(address, workers)
    if name != "local":
        raise OptionError(f"there is no engine '{name}'; known: local, ray", where="engine")
    if address is not None or workers is not None:
        raise OptionError("the local engine has neither an address nor workers", where="engine", fix="--engine ray")
    return local


class _Holder:
    """An actor: holds the model of a pass, and computes batches with it."""

    def __init__(self, work: Any) -> None:
        import ray
        import torch

        torch.set_num_threads(1)  # an actor is a processor
        self._work = ray.get(work)
        self._own = threading.local()  # Ray calls from another thread, and what torch is told holds for a thread

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, rows = row["item"]
        try:
            if not hasattr(self._own, "opened"):
                self._own.opened = self._work.opened()
                self._own.found_of = self._own.opened.__enter__()
            return {"item": (number, self._own.found_of(rows))}
        except ScrimpError as error:  # raised here, Ray would try again and then tell of itself
            return {"item": (number, error)}


def _ray(address: str | None, workers: int | None) -> Engine:
    """Ray Data with actors; a batch whose worker dies is computed by another."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise OptionError("Ray is not installed", where="engine", fix="pip install 'scrimp[ray]'") from None

    def computed(work: Pass[Any], batches: Sequence[Sequence[Any]]) -> Generator[tuple[int, Found]]:
        if not batches:
            return
        _connect(address)
        kept = ray.put(work)  # a worker that is started anew asks for it again
        size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        given = ray.data.from_items([{"item": (number, list(rows))} for number, rows in enumerate(batches)],
                                    override_num_blocks=min(len(batches), _BLOCKS))
        found = given.map(_Holder,  # type: ignore[arg-type]  # a class is made once for each actor
                          fn_constructor_args=(kept,), num_cpus=1,
                          compute=ray.data.ActorPoolStrategy(size=min(size, len(batches))))
        try:
            for row in found.iter_rows():
                number, told = row["item"]
                if isinstance(told, ScrimpError):
                    raise told
                yield number, told
        except ray.exceptions.RayError as error:
            raise WorkspaceError("the pass failed on Ray's workers", why=str(error).strip().splitlines()[0][:300],
                                 fix="the same command continues from what was found") from None

    return computed


def _connect(address: str | None) -> None:
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if not ray.is_initialized():
        if address not in (None, "auto", "local"):
            _reach(str(address))
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _unreachable(str(error)) from None
    ray.data.DataContext.get_current().enable_progress_bars = False


def _reach(address: str) -> None:
    """Ask whether anybody listens there: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(f"{address}: {error}") from None


def _unreachable(why: str) -> OptionError:
    return OptionError("Ray cannot be reached", where="address", why=why[:200],
                       fix="start it with: ray start --head; if it asks for a token: export RAY_AUTH_MODE=token; or "
                           "leave the address out")
