"""The endpoint: what may be asked at which path, and the document that says so."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
import psutil
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from scrimp.core.errors import ScrimpError
from scrimp.serving.asking import chat_ids, ends_of, text_ids
from scrimp.serving.continuous import Wish
from scrimp.serving.hosting import Served
from scrimp.serving.http.document import described
from scrimp.serving.http.gate import App, Gate, Limits
from scrimp.serving.http.inbox import Gone, Inbox, unless_gone
from scrimp.serving.http.problems import Refusal, as_refusal, body_of, invalid, unknown_model
from scrimp.serving.http.shapes import ANSWERS, Chat, Classify, Completion, Embeddings, Generated
from scrimp.serving.http.writing import Writing
from scrimp.serving.metrics import Metrics
from scrimp.serving.worker import Answered, Call, Generation, Worker

__all__ = ["PATHS", "create_app"]

A = TypeVar("A", bound=BaseModel)
PATHS = frozenset({"/health", "/metrics", "/openapi.json", "/v1/models", "/v1/chat/completions", "/v1/completions",
                   "/v1/embeddings", "/v1/classify"})


def create_app(models: Mapping[str, Served], worker: Worker, *, limits: Limits | None = None, key: str | None = None,
               local: bool = True, drain_s: float = 5.0) -> App:
    """The whole as an ASGI application; its lifespan starts and stops the worker.

    Args:
        models: by name. A request names one of these, and no file is ever looked for.
        worker: over their hosts.
        limits: of requests.
        key: that each must bear; None asks for none.
        local: whether only this machine's own names are answered to, see `Gate`.
        drain_s: what is being answered when the lifespan ends may take so long.
    """
    limits, metrics = limits or Limits(), Metrics(PATHS)
    app = _routed(Endpoint(dict(models), worker, limits, metrics), drain_s)
    return Gate(app, limits=limits, key=key, local=local, metrics=metrics)


class Endpoint:
    """What is done at each path."""

    def __init__(self, models: dict[str, Served], worker: Worker, limits: Limits, metrics: Metrics) -> None:
        self.models, self.worker, self.limits, self.metrics = models, worker, limits, metrics
        self._begun = int(time.time())
        self._ends = {name: ends_of(served) for name, served in models.items() if served.writes}

    def health(self) -> dict[str, str]:
        """That it answers."""
        if not self.worker.alive:
            raise Refusal(503, "the worker has ended", kind="server_error", code="stopped")
        return {"status": "ok"}

    def listed(self) -> dict[str, Any]:
        """Everything that is served."""
        return {"object": "list", "data": [self.card(name) for name in self.models]}

    def card(self, name: str) -> dict[str, Any]:
        """One model."""
        served = self._model(name)
        can = {"chat.completions": served.writes, "completions": served.writes, "embeddings": served.embeds,
               "classify": bool(served.labels)}
        return {"id": name, "object": "model", "created": self._begun, "owned_by": "scrimp",
                "can": [what for what, able in can.items() if able], "labels": list(served.labels)}

    def page(self) -> str:
        """The numbers."""
        done, worker = self.worker.tally, self.worker
        return self.metrics.page(
            {"prompt_tokens_total": done.prompt_tokens, "generated_tokens_total": done.new_tokens,
             "steps_total": done.steps, "step_rows_total": done.step_rows},
            {"waiting": worker.waiting, "active_rows": worker.active, "cache_bytes": worker.cache_bytes,
             "resident_bytes": psutil.Process().memory_info().rss, "models": len(self.models)})

    async def chat(self, request: Request) -> Response:
        """Go on with a conversation."""
        asked = _read(Chat, await request.body())
        served = self._writer(asked.model)
        messages = [message.model_dump() for message in asked.messages]
        ids = await asyncio.to_thread(chat_ids, served, messages)
        return await self._written(request, asked, served, [ids])

    async def complete(self, request: Request) -> Response:
        """Go on with texts."""
        asked = _read(Completion, await request.body())
        served = self._writer(asked.model)
        ids = [await asyncio.to_thread(text_ids, served, text) for text in asked.prompts]
        return await self._written(request, asked, served, ids)

    async def embed(self, request: Request) -> Response:
        """Vectors of texts."""
        asked = _read(Embeddings, await request.body())
        served = self._model(asked.model)
        if not served.embeds:
            raise _cannot(asked.model, "has no model that could embed")
        most, counts = await asyncio.to_thread(served.sizes, asked.texts)
        if max(counts) > most:
            raise _too_long(f"a text has {max(counts)} tokens, and this model reads {most}", "input")
        vectors = await self._called(request, ("embed", asked.model), lambda texts: served.embed(texts, most),
                                     asked.texts)
        told = [_base64(one) for one in vectors] if asked.encoding_format == "base64" else vectors
        return JSONResponse({"object": "list", "model": asked.model,
                             "data": [{"object": "embedding", "index": i, "embedding": one}
                                      for i, one in enumerate(told)],
                             "usage": {"prompt_tokens": sum(counts), "completion_tokens": 0,
                                       "total_tokens": sum(counts)}})

    async def classify(self, request: Request) -> Response:
        """Labels of texts."""
        asked = _read(Classify, await request.body())
        served = self._model(asked.model)
        if not served.labels:
            raise _cannot(asked.model, "chooses no labels")
        found = await self._called(request, ("classify", asked.model), served.classify, asked.texts)
        return JSONResponse({"object": "list", "model": asked.model,
                             "data": [{"index": i, **one} for i, one in enumerate(found)]})

    def _model(self, name: str) -> Served:
        if name not in self.models:
            raise unknown_model(name, self.models)
        return self.models[name]

    def _writer(self, name: str) -> Served:
        served = self._model(name)
        if not served.writes:
            raise _cannot(name, "writes no text" + ("; ask /v1/classify" if served.labels else ""))
        return served

    async def _written(self, request: Request, asked: Generated, served: Served, prompts: list[list[int]]) -> Response:
        assert served.host is not None
        assert served.host.batch is not None
        context, inbox = served.host.batch.context, Inbox()
        most = asked.asked_tokens or min(self.limits.new_tokens, max(context - max(map(len, prompts)), 1))
        if most > self.limits.new_tokens:
            raise Refusal(400, f"an answer has at most {self.limits.new_tokens} tokens here", param="max_tokens",
                          code="invalid_value")
        if max(map(len, prompts)) + most > context:
            raise _too_long(f"the prompt has {max(map(len, prompts))} tokens, {most} new ones were asked for, and this "
                            f"model takes {context} in all", "messages" if isinstance(asked, Chat) else "prompt")
        if len(prompts) * (asked.n or 1) > ANSWERS:
            raise Refusal(400, f"a request has at most {ANSWERS} answers", param="n", code="invalid_value")
        seed = secrets.randbits(62) if asked.seed is None else asked.seed
        wishes = [Wish(ids, most, served.adapter, 1.0 if asked.temperature is None else asked.temperature,
                       asked.top_p or 1.0, seed + answer, self._ends[served.name])
                  for ids in prompts for answer in range(asked.n or 1)]
        job = Generation(inbox.tell, self._deadline(), served.host, wishes, asked.stops)
        self.worker.submit(job)
        return await Writing(asked, job, inbox, sum(map(len, prompts)), self.metrics.first_token).response(request)

    async def _called(self, request: Request, key: tuple[str, str], compute: Callable[[list[Any]], list[Any]],
                      texts: list[str]) -> list[Any]:
        inbox = Inbox()
        call = Call(inbox.tell, self._deadline(), key, compute, texts)
        self.worker.submit(call)
        try:
            event = await unless_gone(request, inbox.next())
        finally:
            call.over = True
        assert isinstance(event, Answered)
        return event.results

    def _deadline(self) -> float:
        return time.monotonic() + self.limits.answer_s


def _routed(endpoint: Endpoint, drain_s: float) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        endpoint.worker.start()
        yield
        await asyncio.to_thread(endpoint.worker.stop, wait_s=drain_s)

    async def refused(request: Request, error: Exception) -> Response:
        refusal = as_refusal(error)
        return Response(body_of(refusal), refusal.status, refusal.headers, "application/json")

    async def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return await refused(request, Refusal(error.status_code, f"{error.detail}: {request.url.path[:200]}",
                                              headers=error.headers))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)

    app = FastAPI(title="scrimp", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    for kind, handler in ((Refusal, refused), (ScrimpError, refused), (HTTPException, unrouted), (Gone, gone),
                          (Exception, refused)):
        app.add_exception_handler(kind, handler)
    document = described(list(endpoint.models))
    for path, answer in (("/health", endpoint.health), ("/v1/models", endpoint.listed),
                         ("/openapi.json", lambda: document)):
        app.add_api_route(path, answer, methods=["GET"])
    app.add_api_route("/v1/models/{name}", endpoint.card, methods=["GET"])
    app.add_api_route("/metrics", endpoint.page, methods=["GET"], response_class=PlainTextResponse)
    for path, ask in (("/v1/chat/completions", endpoint.chat), ("/v1/completions", endpoint.complete),
                      ("/v1/embeddings", endpoint.embed), ("/v1/classify", endpoint.classify)):
        app.add_api_route(path, ask, methods=["POST"])
    return app


def _read(cls: type[A], body: bytes) -> A:
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error, cls) from None


def _cannot(name: str, why: str) -> Refusal:
    return Refusal(400, f"the model '{name}' {why}", param="model", code="wrong_model")


def _too_long(message: str, param: str) -> Refusal:
    return Refusal(400, message, param=param, code="context_length_exceeded")


def _base64(vector: list[float]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
