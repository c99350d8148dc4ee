"""JSON text to values and back, as every wire here wants it: UTF-8, compact, nothing that is not JSON."""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Any, Final

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ASCII_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)
_INFINITY: Final = float("inf")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """JSON has 1e999, a float has not: as infinity it could never be written again."""
    value = float(text)
    if value in (_INFINITY, -_INFINITY):
        raise ValueError(f"{text} is too large a number")
    return value


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)


def loads(text: str | bytes) -> Any:
    """The value of one JSON text.

    Raises ``ValueError`` for anything else: NaN and Infinity, a number too large for a float, bytes that are not UTF-8,
    and nesting too deep for the interpreter, which would otherwise surface as ``RecursionError``.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> str:
    """Compact JSON text that can always be encoded.

    A provider may cut an emoji between two deltas, which leaves half a surrogate pair in each: those texts, and only
    those, are written with ``\\u`` escapes, so that a client that joins them gets its emoji back.
    """
    text = _ENCODER.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ASCII_ENCODER.encode(value)
    return text


def dump_text(text: str) -> bytes:
    """:func:`dump_bytes` of a text, which most of what is written is, at a tenth of the cost."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError:
        return _ASCII_ENCODER.encode(text).encode()


def dump_bytes(value: Any) -> bytes:
    """:func:`dumps`, as UTF-8."""
    text = _ENCODER.encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _ASCII_ENCODER.encode(value).encode()
