"""Corruptions, drawn by hypothesis: of bytes, of text, and of what the bytes mean."""

from __future__ import annotations

import copy
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

__all__ = ["DRAWERS", "Draw", "corrupted"]

Draw = Callable[[Any], Any]  # hypothesis' own: a strategy's value

_BYTES = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf",
          b'"', b"'", b"{", b"}\n", b"\n\n", b"\r", b"-", b"NaN", b"1e999", b"null",
          b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b",", b"\t", b"[" * 3000, b'{"a":' * 3000, b"\x1a",
                                                                                              b"../",
          b"9" * 5000]
_TEXTS = ["", " ", "\0", "a" * 5000, "../../../etc/passwd", "/etc/passwd", "~/x", "\ud800", "𐍈\u202e", "NaN", "none",
          "{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}x{% endfor %}", "__import__('os')", "%s%n", "-1",
          "hub:a/b", "\\\\server\\share", "(a+)+$", "!!python/object/apply:os.system [touch canary]", "torch.load",
          "hf://x/y", "https://127.0.0.1:9/x", "file:///etc/passwd"]
_NUMBERS = [0, -1, 1, 2, 3, 7, 63, 65, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, 10**400, 0.5, -0.0, 1e-320,
            1e308]
_ODD: list[Any] = [None, True, False, float("nan"), float("inf"), float("-inf"), [], {}, [[]], {"": {}}, [None]]


def corrupted(path: Path, draw: Draw) -> bytes:
    """The content of a file with one to three corruptions, by what the file is."""
    data = path.read_bytes()
    for _ in range(draw(st.integers(1, 3))):
        meant = DRAWERS.get(path.suffix)
        data = meant(data, draw) if meant and draw(st.integers(0, 3)) else _of_bytes(data, draw)
    return data


def _of_bytes(data: bytes, draw: Draw) -> bytes:
    """Bytes changed, cut, repeated, moved, dropped or put in."""
    size = max(len(data), 1)
    near = draw(st.integers(0, min(size, 4096) - 1)) if draw(st.booleans()) else draw(st.integers(0, size - 1))
    span = draw(st.sampled_from([1, 2, 8, 64, size // 3 + 1]))
    kind = draw(st.integers(0, 7))
    made = bytearray(data or b"\0")
    if kind == 0:
        made[near] ^= 1 << draw(st.integers(0, 7))
    elif kind == 1:
        made[near] = draw(st.integers(0, 255))
    elif kind == 2:
        del made[near:]
    elif kind == 3:
        del made[near:near + span]
    elif kind == 4:
        made[near:near] = draw(st.binary(max_size=64))
    elif kind == 5:
        made[near:near] = made[near:near + span]
    elif kind == 6:
        made[near:near] = draw(st.sampled_from(_BYTES))
    else:
        made[near:near + span] = draw(st.sampled_from(_BYTES))
    return bytes(made)


def _of_lines(data: bytes, draw: Draw) -> bytes:
    """Lines dropped, doubled, swapped, joined, or with a cell put in."""
    lines = data.split(b"\n")
    at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[other])
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines[at] = lines[at].rstrip(b"\n") + draw(st.sampled_from([b",", b"\t", b";", b'"', b": ", b"  - "]))
    elif kind == 4:
        lines[at] = draw(st.sampled_from(_TEXTS)).encode("utf-8", "surrogatepass")
    elif kind == 5:
        lines[at] = b"  " + lines[at]
    else:
        return data.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n", b"\x0b"])))
    return b"\n".join(lines)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value[:50]) if isinstance(value, list) else ()
    for key, part in list(inner)[:200]:
        found += _places(part, (*path, key))
    return found


def _odd(value: Any, draw: Draw) -> Any:
    """Something else in the place of ``value``: of its own kind or of another."""
    kind = draw(st.integers(0, 6))
    if kind == 0 and isinstance(value, int | float) and not isinstance(value, bool):
        return draw(st.sampled_from([value + 1, value - 1, value * 2, -value, value / 2, float(value), str(value)]))
    if kind == 1 and isinstance(value, str):
        return draw(st.sampled_from([value[:-1], value + " ", value.upper(), value * 3, f"../{value}", [value]]))
    if kind <= 2:
        return draw(st.sampled_from(_NUMBERS))
    if kind == 3:
        return draw(st.sampled_from(_TEXTS))
    if kind == 4:
        return draw(st.sampled_from(_ODD))
    if kind == 5:
        return draw(st.sampled_from([[value], {"x": value}, [value, value], [value] * 3]))
    return draw(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                             lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                                         max_size=3), max_leaves=6))


def spoilt(document: Any, draw: Draw) -> Any:
    """A JSON document in which something is replaced, dropped, added or renamed."""
    document = copy.deepcopy(document)
    places = _places(document)
    if not places or draw(st.integers(0, 40)) == 0:
        return _odd(document, draw)
    path = draw(st.sampled_from(places))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    last, kind = path[-1], draw(st.integers(0, 5))
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(holder, dict):
        holder[draw(st.sampled_from(_TEXTS) | st.text(max_size=6))] = holder[last]
    elif kind == 2 and isinstance(holder, dict):
        holder[str(last)[:-1] + "x"] = holder.pop(last)
    elif kind == 3 and isinstance(holder, list):
        holder.insert(last, draw(st.sampled_from([*holder])))
    else:
        holder[last] = _odd(holder[last], draw)
    return document


def _dumped(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _of_json(data: bytes, draw: Draw) -> bytes:
    try:
        return _dumped(spoilt(json.loads(data), draw))
    except (ValueError, RecursionError):
        return _of_bytes(data, draw)


def _of_jsonl(data: bytes, draw: Draw) -> bytes:
    lines = data.split(b"\n")
    if draw(st.integers(0, 2)) == 0:
        return _of_lines(data, draw)
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = _of_json(lines[at], draw)
    return b"\n".join(lines)


def _of_safetensors(data: bytes, draw: Draw) -> bytes:
    """The header's JSON, or the numbers: one made NaN, infinite or huge."""
    try:
        length = struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8:8 + length]), bytearray(data[8 + length:])
    except (ValueError, struct.error):
        return _of_bytes(data, draw)
    if draw(st.booleans()) and len(body) >= 8:
        at = draw(st.integers(0, len(body) // 4 - 1)) * 4
        body[at:at + 4] = struct.pack("<f", draw(st.sampled_from([float("nan"), float("inf"), 3e38, -3e38, 1e30])))
    else:
        header = spoilt(header, draw)
    told = _dumped(header)
    return struct.pack("<Q", len(told)) + told + bytes(body)


def _of_gguf(data: bytes, draw: Draw) -> bytes:
    """A number of the header, which is most of a small file."""
    at = draw(st.integers(0, min(len(data), 12000) - 9))
    form = draw(st.sampled_from(["<I", "<Q", "<f", "<B"]))
    value = draw(st.sampled_from([0, 1, 2, 8, 9, 255])) if form == "<B" else draw(
        st.sampled_from([0, 1, 3, 2**31, 2**32 - 1, 255])) if form != "<f" else float("nan")
    put = struct.pack(form, value)
    return data[:at] + put + data[at + len(put):]


def _of_parquet(data: bytes, draw: Draw) -> bytes:
    """A table with a column renamed, dropped or of another type; now and then the bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(spoilt(rows, draw)), out)
        return out.getvalue()
    except Exception:
        return _of_bytes(data, draw)


DRAWERS: dict[str, Callable[[bytes, Draw], bytes]] = {
    ".json": _of_json, ".jsonl": _of_jsonl, ".csv": _of_lines, ".tsv": _of_lines, ".txt": _of_lines, ".yaml": _of_lines,
    ".jinja": _of_lines, ".safetensors": _of_safetensors, ".gguf": _of_gguf, ".parquet": _of_parquet}
