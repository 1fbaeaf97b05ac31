"""The models of a folder behind HTTP: `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.options import Bytes, Options, Seconds
from scrimp.core.progress import say
from scrimp.verbs.base import Verb

__all__ = ["Serve", "ServedUntil"]


class ServedUntil(Options):
    """Where it was served, and what."""

    url: str
    models: tuple[str, ...]


class Serve(Verb):
    """Serve models over HTTP, in the manner of OpenAI's API.

    The folder is a run, an adapter or a model, or holds several of these, each of which is asked for by the name of its
    folder. Adapters of one base are answered together, whatever their ranks. Chat completions, completions, embeddings
    and classification are under /v1, numbers for Prometheus under /metrics. SIGTERM or Ctrl-C finishes what was begun.
    """

    positional = ("folder",)
    examples = ("scrimp serve run", "scrimp serve runs --port 8080 --api-key-env SCRIMP_KEY --rows 32")

    folder: Path = Field(description="What to serve: a run, an adapter, a model, or a folder of such folders.")
    host: str = Field("127.0.0.1", description="Address to listen at; others than this machine's own need a key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen at; 0 takes a free one.")
    api_key_env: str | None = Field(
        None, description="Environment variable with the key that requests must bear; without it, none is asked for.")
    base: str | None = Field(None, description="Where the base model is, if not where the folder says.")
    dtype: Literal["auto", "float32", "bfloat16"] | None = Field(
        None, description="Of the models that adapters share; without it, what each was scored in.")
    rows: int = Field(16, ge=1, le=512, description="Answers that are written at a time.")
    context: int = Field(
        2048, ge=32, description="Tokens of a prompt and its answer, at most; a model may take less.")
    max_tokens: int = Field(1024, ge=1, description="Tokens of an answer, at most.")
    queue: int = Field(128, ge=8, description="Answers that may wait; beyond these, requests are told to come back.")
    max_body: Bytes = Field(1 << 20, description="Size of a request, at most.")
    timeout: Seconds = Field(120.0, description="Time for an answer, waiting included.")
    drain: Seconds = Field(30.0, description="Time to finish what was begun when the server is stopped.")

    def do(self) -> ServedUntil:
        try:
            from scrimp.serving.http import running
            from scrimp.serving.http.app import create_app
        except ImportError as error:
            raise OptionError("serving needs fastapi and uvicorn, which are not installed", where="scrimp serve",
                              why=str(error), fix="pip install 'scrimp[serve]'") from None
        from scrimp.serving.hosting import gather
        from scrimp.serving.http.gate import Limits, is_local
        from scrimp.serving.worker import Worker

        local, key = is_local(self.host), running.key_from(self.api_key_env)
        if not local and key is None:
            raise OptionError("others than this machine could ask without a key", where="host",
                              fix="name an environment variable with a key: --api-key-env NAME")
        made, address = running.listening(self.host, self.port)
        with made:
            models = gather(self.folder, base=self.base, dtype=self.dtype, rows=self.rows, context=self.context)
            worker = Worker({served.host: None for served in models.values() if served.host}, queue=self.queue)
            app = create_app(models, worker, key=key, local=local, drain_s=self.drain, limits=Limits(
                body_bytes=self.max_body, answer_s=self.timeout, new_tokens=self.max_tokens))
            running.serve(app, made, requests=self.rows + self.queue, drain_s=self.drain,
                          ready=lambda: say(f"serving {', '.join(models)} at {address.url}"))
        return ServedUntil(url=address.url, models=tuple(models))
