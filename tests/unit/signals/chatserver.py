"""A server of chat completions that does as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: given the number of a request (from 0) and what was sent: a status, a body, and headers
Behaviour = Callable[[int, dict[str, Any]], tuple[int, bytes | Iterator[bytes], dict[str, str]]]


def said(text: Any, prompt: int = 7, completion: int = 3) -> tuple[int, bytes, dict[str, str]]:
    """A proper answer."""
    told = {"choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    return 200, json.dumps(told).encode(), {}


def echo(number: int, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
    """What was asked, said back."""
    return said(f"<{asked['messages'][0]['content']}>")


class Server:
    """Answers on a port of its own while the block lasts.

    Attributes:
        asked: what was sent, in order; headers under "headers".
        most: requests that were answered at a time, at most.
    """

    def __init__(self, behave: Behaviour = echo) -> None:
        self.asked: list[dict[str, Any]] = []
        self.most, busy, lock, outer = 0, 0, threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                nonlocal busy
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number, busy = len(outer.asked), busy + 1
                    outer.most = max(outer.most, busy)
                    outer.asked.append({**sent, "headers": dict(self.headers), "at": time.monotonic()})
                try:
                    status, body, headers = behave(number, sent)
                finally:
                    with lock:
                        busy -= 1  # before anything is sent: who has read it may ask again at once
                try:
                    self.send_response(status)
                    length = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
                    for name, value in {**length, **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for part in [body] if isinstance(body, bytes) else body:
                        self.wfile.write(part)
                except OSError:
                    self.close_connection = True  # nobody listens any more

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [one["messages"][0]["content"] for one in self.asked]

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
