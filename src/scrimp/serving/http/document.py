"""The OpenAPI document of the endpoint, from the shapes of what is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from scrimp.serving.http.shapes import (
    Chat,
    ChatCompletion,
    Classification,
    Classify,
    Completion,
    Embeddings,
    EmbeddingsAnswer,
    ModelCard,
    Models,
    Problem,
    TextCompletion,
)

__all__ = ["described"]

_REFERENCE = "#/components/schemas/"
_PROBLEMS = {400: "Something about the request is not as it must be.", 401: "The API key is missing or wrong.",
             403: "The host is none of this machine's names.", 404: "There is no such model or path.",
             408: "The body took too long to arrive.", 413: "The body is too large.",
             415: "The content type is not JSON.", 429: "Too many requests are waiting; ask again soon.",
             500: "The answer failed.", 503: "The server is stopping.", 504: "The time for an answer is over."}
#: of a stream: a chunk as JSON, an error, or [DONE]
_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
_GET_PROBLEMS = (401, 403, 404, 408, 413, 500, 503)
_ASKED: dict[str, tuple[type[BaseModel], type[BaseModel], str]] = {
    "/v1/chat/completions": (Chat, ChatCompletion, "Go on with a conversation."),
    "/v1/completions": (Completion, TextCompletion, "Go on with texts."),
    "/v1/embeddings": (Embeddings, EmbeddingsAnswer, "The mean of a model's last states of each text."),
    "/v1/classify": (Classify, Classification, "The label of each text, with the probabilities of all.")}


def described(models: Sequence[str]) -> dict[str, Any]:
    """The document of a server with these models."""
    shapes: list[type[BaseModel]] = [Models, ModelCard, Problem, *(one for kind in _ASKED.values() for one in kind[:2])]
    _, found = models_json_schema([(shape, "validation") for shape in shapes], ref_template=_REFERENCE + "{model}")
    schemas = found["$defs"]
    for kind, _, _ in _ASKED.values():
        schemas[kind.__name__]["properties"]["model"]["examples"] = list(models)[:20]
    posts = {path: {"post": _post(path, *kind)} for path, kind in _ASKED.items()}
    named = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {"openapi": "3.1.0", "info": {"title": "scrimp", "version": "1", "description": "Models that scrimp serves, "
                                         "in the manner of OpenAI's API."},
            "paths": {"/health": {"get": _get("That the server answers.", "application/json", {"type": "object"})},
                      "/metrics": {"get": _get("Numbers for Prometheus.", "text/plain", {"type": "string"})},
                      "/v1/models": {"get": _get("Everything that is served.", "application/json", _ref(Models))},
                      "/v1/models/{name}": {"get": {**_get("One model.", "application/json", _ref(ModelCard)),
                                                    "parameters": [named]}}, **posts},
            "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
            "security": [{}, {"key": []}]}


def _ref(shape: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE + shape.__name__}


def _get(what: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": what, "responses": {"200": {"description": what, "content": {kind: {"schema": schema}}},
                                           **_problems(_GET_PROBLEMS)}}


def _post(path: str, asked: type[BaseModel], answer: type[BaseModel], what: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _ref(answer)}}
    if "completions" in path:
        content["text/event-stream"] = {"schema": _EVENT}
    body = {"required": True, "content": {"application/json": {"schema": _ref(asked)}}}
    return {"summary": what, "requestBody": body,
            "responses": {"200": {"description": what, "content": content}, **_problems(_PROBLEMS)}}


def _problems(codes: Any) -> dict[str, Any]:
    return {str(code): {"description": _PROBLEMS[code], "content": {"application/json": {"schema": _ref(Problem)}}}
            for code in codes}
