"""Bytes of a file as text: byte-order marks, UTF-8, and what to do with what is neither."""

from __future__ import annotations

import codecs
from pathlib import Path

from scrimp.core.errors import DataError

__all__ = ["decode", "load_bytes", "unusable"]

_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed", b"PK\x03\x04": "a zip archive or an office document", b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed", b"\x28\xb5\x2f\xfd": "zstd-compressed", b"%PDF": "a PDF", b"PAR1": "Parquet",
}


def load_bytes(path: Path) -> bytes:
    """The whole file, or a DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError("cannot be read", where=str(path), why=error.strerror or str(error),
                        fix="check its permissions") from None


def decode(data: bytes, where: str) -> tuple[str, list[str]]:
    """The text, and notes on its encoding if that is not plain UTF-8.

    A byte-order mark decides. Without one it is UTF-8. Where that fails, lines that are not ASCII tell whether the file
    is UTF-8 with broken lines (then each broken byte becomes a lone surrogate, which makes its row a bad row) or has
    another encoding throughout (then cp1252 is taken, and that is noted).

    Raises:
        DataError: if the file is compressed or binary, or has none of these encodings.
    """
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"is {name}, not text", where=where,
                            fix="give it the extension .parquet" if name == "Parquet" else "unpack or convert it first")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _marked(data, encoding, where)
    if data[:4096].count(0) > len(data[:4096]) // 4:
        raise DataError("is binary, or UTF-16 without a byte-order mark", where=where, fix="save it as UTF-8")
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        return _not_utf8(data, where)


def _marked(data: bytes, encoding: str, where: str) -> tuple[str, list[str]]:
    try:
        return data.decode(encoding), [] if encoding == "utf-8-sig" else [f"{where} was read as {encoding.upper()}"]
    except UnicodeDecodeError as error:
        if encoding == "utf-8-sig":
            return _not_utf8(data.removeprefix(codecs.BOM_UTF8), where)
        raise DataError(f"is not valid {encoding.upper()}, which its byte-order mark says it is", where=where,
                        why=f"{error.reason} at byte {error.start}", fix="save it as UTF-8") from None


def _not_utf8(data: bytes, where: str) -> tuple[str, list[str]]:
    if any(not line.isascii() and _is_utf8(line) for line in data.split(b"\n")):
        return data.decode("utf-8", "surrogateescape"), []
    try:
        return data.decode("cp1252"), [f"{where} is not UTF-8 and was read as cp1252 (Western European)"]
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("is neither UTF-8 nor cp1252", where=f"{where}:{line}",
                        why=f"byte 0x{data[error.start]:02x} at offset {error.start}", fix="save it as UTF-8") from None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def unusable(text: str) -> str | None:
    """Why no tokenizer can take the text, or None."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"holds a byte that is not UTF-8 (0x{code - 0xDC00:02x}), or half a character (U+{code:04X})"
        return f"holds half a character (the lone surrogate U+{code:04X})"
    return None
