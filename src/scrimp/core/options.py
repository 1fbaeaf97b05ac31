"""Strict typed options: the fields of a class are its options, and nothing else is.

The command line, the YAML schema, the Python signature and the documentation are derived from these fields.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from scrimp.core.errors import OptionError, nearest

__all__ = ["Bytes", "Fraction", "Options", "Seconds", "describe_validation", "parse_bytes", "parse_seconds"]

_TIME = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = {"": 1, "b": 1, **{f"{p}{u}": base**i for i, p in enumerate("kmgt", 1)
                           for u, base in (("", 1000), ("b", 1000), ("ib", 1024))}}


def _as_float(value: float) -> float:
    """A number as a float; a whole one beyond all floats as infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def parse_seconds(value: Any) -> float:
    """``90``, ``"90s"``, ``"10m"`` or ``"1h30m"`` as seconds.

    Raises:
        ValueError: if it is no positive, finite duration.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text such as 90s, 10m, 1h30m")
    if isinstance(value, int | float):
        seconds = _as_float(value)
    else:
        text = str(value).strip().lower().replace(" ", "")
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|min|[smhd])?", text)
        if not parts or "".join(n + u for n, u in parts) != text or (len(parts) > 1 and not all(u for _, u in parts)):
            raise ValueError(f"'{value}' is no duration; write 90s, 10m or 1h30m")
        seconds = sum(float(n) * _TIME[u or "s"] for n, u in parts)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a duration must be positive and finite, not {value}")
    return seconds


def parse_bytes(value: Any) -> int:
    """``1073741824``, ``"8GiB"`` or ``"500MB"`` as bytes.

    Raises:
        ValueError: if it is no positive size.
    """
    if isinstance(value, bool):
        raise ValueError("a size is a number of bytes or text such as 500MB, 8GiB")
    if isinstance(value, int | float):
        size = _as_float(value)
    else:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
        if not found or found[2] not in _SIZE:
            raise ValueError(f"'{value}' is no size; write 500MB or 8GiB")
        size = float(found[1]) * _SIZE[found[2]]
    if not (math.isfinite(size) and size >= 1):
        raise ValueError(f"a size must be at least one byte, not {value}")
    return int(size)


def _parse_fraction(value: Any) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        value = float(value.strip()[:-1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"'{value}' is no share; write 0.05 or 5%")
    return float(value)


Seconds = Annotated[float, BeforeValidator(parse_seconds), PlainSerializer(float)]
Bytes = Annotated[int, BeforeValidator(parse_bytes), PlainSerializer(int)]
Fraction = Annotated[float, BeforeValidator(_parse_fraction), PlainSerializer(float)]


class Options(BaseModel):
    """Base of everything that a person can set: frozen, strict, and no unknown key passes."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @classmethod
    def parse(cls, given: Mapping[str, Any], *, where: str = "options") -> Self:
        """Validate ``given`` or raise an OptionError that names every bad key and the nearest known one."""
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            raise OptionError(describe_validation(error, cls), where=where) from None


def describe_validation(error: ValidationError, cls: type[BaseModel]) -> str:
    """Pydantic's findings in our words, one line a finding."""
    lines = []
    for found in error.errors(include_url=False):
        path = ".".join(str(part) for part in found["loc"])
        reason = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            lines.append(f"unknown option '{path}'; {nearest(path.rsplit('.', 1)[-1], cls.model_fields)}")
        elif found["type"] == "missing":
            lines.append(f"'{path}' is required")
        elif path:
            lines.append(f"'{path}': {reason} (given: {str(found['input'])[:80]!r})")
        else:  # of how several go together, which names them itself
            lines.append(reason)
    return "; ".join(lines)
