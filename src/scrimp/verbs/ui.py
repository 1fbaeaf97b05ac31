"""Runs in a browser: `ui`."""

from __future__ import annotations

import os
import tempfile

from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.options import Options
from scrimp.core.progress import say
from scrimp.verbs.base import Verb, Workspaced

__all__ = ["Ui", "Watched"]


class Watched(Options):
    """Where the page was."""

    url: str


class Ui(Verb, Workspaced):
    """Watch runs in a browser: those that go on, those that are finished, several beside each other.

    Lists the runs of `fit` and `tune` in the workspace, follows one while it lasts (ways, curves, ledger), compares
    several that are finished (scores, what they cost, curves, bills) and opens their reports. Only this machine is
    answered, and nothing is changed; from another machine, use `ssh -L 8001:127.0.0.1:8001`. Ctrl-C ends it.
    """

    examples = ("scrimp ui", "scrimp ui --workspace ws --port 0")

    port: int = Field(8001, ge=0, le=65535, description="Port to listen at; 0 takes a free one.")

    def do(self) -> Watched:
        os.environ.setdefault("NICEGUI_STORAGE_PATH", tempfile.gettempdir())  # nothing is kept, and not where one is
        try:
            from scrimp.serving.http import running
            from scrimp.watching.app import create_app
        except ImportError as error:
            raise OptionError("the page needs nicegui, which is not installed", where="scrimp ui", why=str(error),
                              fix="pip install 'scrimp[ui]'") from None
        from scrimp.watching.runs import listed

        listed(self.workspace)  # whether it is a workspace is said before anything is listened to
        made, address = running.listening("127.0.0.1", self.port)
        with made:
            running.serve(create_app(self.workspace), made, requests=64, drain_s=1.0, sockets=True,
                          ready=lambda: say(f"watching {self.workspace} at {address.url}"))
        return Watched(url=address.url)
