"""Decodes and encodes large JSON in small steps, for a thread beside an event loop.

The C code of ``json`` and ``orjson`` lets no other thread run before it has ended, which takes 150 ms for a body of
90,000 messages. Here Python code goes through the containers and calls it for their flat parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final

from llm.wire.json_codec import BLANK, BOM, DECODER, MAX_DEPTH, TOO_DEEP, dump_scalar

_FLAT_SIZE: Final = 16 * 1024  # characters of an object that are decoded in one call
# An object without other containers in it. No part of it gives back what it matched.
_FLAT: Final = re.compile(r'\{[^\[\]{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^\[\]{}"]*+)*+\}', re.DOTALL)
_CONTAINERS: Final = (dict, list, tuple)


def loads_in_steps(text: str | bytes) -> Any:
    """Decodes one JSON text as ``loads`` does. Raises ``ValueError``."""
    if isinstance(text, bytes):
        text = text.removeprefix(BOM).decode()
    value, end = _decode(text, _skip(text, 0), 0)
    if (end := _skip(text, end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def dump_in_steps(value: Any) -> bytes:
    """Encodes a value as ``dump_bytes`` does."""
    pieces: list[str] = []
    _encode(value, pieces.append, encode_basestring)
    try:
        return "".join(pieces).encode()
    except UnicodeEncodeError:
        pieces.clear()
        _encode(value, pieces.append, encode_basestring_ascii)
        return "".join(pieces).encode()


def _skip(text: str, at: int) -> int:
    blank = BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _decode(text: str, at: int, depth: int) -> tuple[Any, int]:
    """Returns the value that begins at ``at`` and the position after it."""
    first = text[at : at + 1]
    if first == "{" and _FLAT.match(text, at, at + _FLAT_SIZE) is None:
        return _decode_object(text, at + 1, depth + 1)
    if first == "[":
        return _decode_list(text, at + 1, depth + 1)
    if first == "{" and depth >= MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    return DECODER.raw_decode(text, at)


def _decode_object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    found: dict[str, Any] = {}
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        name, at = DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        found[name], at = _decode(text, _skip(text, at + 1), depth)
        at = _skip(text, at)
        end = text[at : at + 1]
        if end == "}":
            return found, at + 1
        if end != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)


def _decode_list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    found: list[Any] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return found, at + 1
    while True:
        value, at = _decode(text, at, depth)
        found.append(value)
        at = _skip(text, at)
        end = text[at : at + 1]
        if end == "]":
            return found, at + 1
        if end != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)


def _encode(value: Any, add: Callable[[str], None], quote: Callable[[str], str]) -> None:
    if isinstance(value, dict) and value:
        before = "{"
        for name, item in value.items():
            add(f"{before}{quote(name)}:")
            _encode(item, add, quote)
            before = ","
        add("}")
    elif isinstance(value, str):
        add(quote(value))
    elif isinstance(value, _CONTAINERS) and value:
        before = "["
        for item in value:
            add(before)
            _encode(item, add, quote)
            before = ","
        add("]")
    else:
        add(dump_scalar(value))
