"""The pages as an application for this machine alone: who may ask, and what a report may do in a browser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from nicegui import ui

from scrimp.core.errors import ScrimpError
from scrimp.reports import page
from scrimp.serving.http.gate import App, Message, Receive, Send, is_local
from scrimp.watching import pages
from scrimp.watching.runs import follow

__all__ = ["create_app"]

_REPORT = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
           "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def create_app(root: Path) -> App:
    """The pages of the workspace ``root``; see `pages`."""
    app = FastAPI(openapi_url=None)

    @app.get("/reports/{name}")
    def report(name: str) -> Response:
        """The page of a finished run, made from its record."""
        try:
            run = follow(root, name)
            if run is not None and run.outcome is not None:
                return HTMLResponse(page.render(run.outcome), headers=_REPORT)
        except ScrimpError as error:
            return PlainTextResponse(str(error), status_code=500, headers=_REPORT)
        return PlainTextResponse("There is no such finished run in this workspace.", status_code=404, headers=_REPORT)

    pages.register(root)
    ui.run_with(app, title="scrimp", favicon="🪶", show_welcome_message=False)
    return OwnMachine(app)


class OwnMachine:
    """ASGI middleware: asked by this machine's own names only, and by no page of another origin."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not _own(dict(scope["headers"])):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await PlainTextResponse("this page is for this machine only", status_code=403)(
                    scope, receive, send)
            return
        await self._app(scope, receive, send)


def _own(headers: dict[bytes, bytes]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin")
    if not is_local(urlsplit(f"//{host}").hostname or ""):
        return False
    return origin is None or urlsplit(origin.decode("latin-1")).netloc == host
