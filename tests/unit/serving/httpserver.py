"""The endpoint on a real socket, in a thread of this process."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import uvicorn

from scrimp.serving.http.app import create_app
from scrimp.serving.http.running import listening
from scrimp.serving.worker import Worker


@contextmanager
def running(models, *, queue=64, **options):
    """Gives the address and the worker."""
    worker = Worker({one.host: None for one in models.values() if one.host}, queue=queue)
    made, address = listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(models, worker, **options), log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [made]}, daemon=True)
    thread.start()
    try:
        yield address.url, worker
    finally:
        server.should_exit = True
        thread.join(60)
        made.close()
    assert not thread.is_alive()
