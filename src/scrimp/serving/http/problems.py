"""Errors in the shape that OpenAI's clients read, and what each of our own failures is over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from scrimp.core.errors import DataError, GuardError, OptionError, nearest
from scrimp.core.options import describe_validation
from scrimp.serving.worker import Busy, Late, Stopping

__all__ = ["Refusal", "as_refusal", "body_of", "invalid", "unknown_model"]

_LONGEST_S = 60  # after which a client may come back at the latest


class Refusal(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: for a person.
        kind, code, param: as OpenAI's errors have them.
        headers: beside the usual ones.
    """

    def __init__(self, status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None,
                 param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.fault = {"message": message[:2000], "type": kind, "param": param, "code": code}


def body_of(refusal: Refusal) -> bytes:
    """Of the response."""
    return json.dumps({"error": refusal.fault}).encode()


def invalid(error: ValidationError, cls: Any) -> Refusal:
    """A body that is no such request."""
    first = error.errors(include_url=False, include_context=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    if first["type"] == "json_invalid":
        return Refusal(400, "the body is no JSON", code="invalid_json")
    return Refusal(400, describe_validation(error, cls), param=param and param[:128], code="invalid_value")


def unknown_model(name: str, known: Mapping[str, Any]) -> Refusal:
    """A name that nothing here has."""
    return Refusal(404, f"there is no model '{name}'; {nearest(name, known)}", param="model", code="model_not_found")


def as_refusal(error: BaseException) -> Refusal:
    """What a failure is over HTTP; of one that is a fault of ours nothing is told but that there was one."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Stopping):
        return Refusal(503, error.what, kind="server_error", code="stopping", headers={"Connection": "close"})
    if isinstance(error, Busy):
        return Refusal(429, error.what, kind="rate_limit_error", code="queue_full",
                       headers={"Retry-After": str(min(max(math.ceil(error.after_s), 1), _LONGEST_S))})
    if isinstance(error, Late):
        return Refusal(504, error.what, kind="timeout_error", code="timeout")
    if isinstance(error, DataError | OptionError | GuardError):
        return Refusal(400, "; ".join(filter(None, (error.what, error.why))), code="invalid_value")
    return Refusal(500, "the answer failed; the server's log tells why", kind="server_error", code="internal")
