"""JSON text to values and back, by the standard library or, where it is installed, orjson."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from json.encoder import (  # type: ignore[attr-defined]
    c_make_encoder,
    encode_basestring,
    encode_basestring_ascii,
)
from typing import Any, Final, TypeAlias
from urllib.parse import quote

# Lists and objects inside one another. What the interpreter can read it cannot always write, compare or show: each of
# these goes as deep as there is stack left where it is called. A tool's schema may have 100 levels, of two each.
MAX_DEPTH: Final = 256
_INFINITY: Final = float("inf")
_LARGE: Final = 1 << 20  # bytes: one long text, such as a picture, is read as fast without orjson
_DIGITS: Final = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 19


def import_optional(name: str) -> Any:
    """A package that makes the server faster (``requirements-fast.txt``); None where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


orjson: Final = import_optional("orjson")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """JSON has 1e999, a float has not: as infinity it could never be written again."""
    value = float(text)
    if value in (_INFINITY, -_INFINITY):
        raise ValueError(f"{text} is too large a number")
    return value


def _unknown(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _encoder(quoted: Callable[[str], str]) -> Callable[[Any, int], Sequence[str]]:
    """What ``JSONEncoder.encode`` makes anew for each value, at the cost of a small one. It keeps nothing of them."""
    made: Callable[[Any, int], Sequence[str]] = c_make_encoder(
        None, _unknown, quoted, None, ":", ",", False, False, False
    )
    return made


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_ENCODE: Final = _encoder(encode_basestring)
_ENCODE_ASCII: Final = _encoder(encode_basestring_ascii)


def loads(text: str | bytes) -> Any:
    """The value of one JSON text.

    Raises ``ValueError`` for anything else: NaN and Infinity, a number too large for a float, bytes that are not UTF-8,
    and nesting beyond ``MAX_DEPTH``.
    """
    value = _decode(text)
    if len(text) > MAX_DEPTH and _brackets(text) > MAX_DEPTH and not _shallow(value):
        raise ValueError(_TOO_DEEP)
    return value


_MARK: Final = b"\xef\xbb\xbf"  # which some put before UTF-8


def _decode_std(text: str | bytes) -> Any:
    """As ``JSONDecoder.decode``, which looks for blank space where there hardly ever is any."""
    if isinstance(text, bytes):
        text = text.removeprefix(_MARK).decode()
    start = 0 if text[:1] in _OPENING else _after_blank(text, 0)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if end != len(text) and (end := _after_blank(text, end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


_OPENING: Final = frozenset("{[")


def _after_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _decode_fast(text: str | bytes) -> Any:
    """The same by orjson; what the two do not read alike is left to the other."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        # A whole number beyond 64 bits would become a float.
        if len(raw) < _LARGE and _LONG_NUMBER not in raw.translate(_DIGITS):
            return orjson.loads(raw)
    except ValueError:
        pass
    return _decode_std(text)


_decode: Final = _decode_std if orjson is None else _decode_fast


def _brackets(text: str | bytes) -> int:
    return text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")


_TOO_DEEP: Final = f"nested too deeply, in more than {MAX_DEPTH} levels"


def _shallow(value: Any) -> bool:
    """Whether it keeps to ``MAX_DEPTH``: level by level, since to go down by calls is what must not be."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            return False
        level = [held for one in level for held in (one.values() if isinstance(one, dict) else one)]
    return True


def dumps(value: Any) -> str:
    """Compact JSON text that can always be encoded.

    A provider may cut an emoji between two deltas, which leaves half a surrogate pair in each: those texts, and only
    those, are written with ``\\u`` escapes, so that a client that joins them gets its emoji back.
    """
    text = "".join(_ENCODE(value, 0))
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_ENCODE_ASCII(value, 0))
    return text


def dump_text(text: str) -> bytes:
    """:func:`dump_bytes` of a text, which most of what is written is, at a tenth of the cost."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text).encode()


def dump_bytes(value: Any) -> bytes:
    """:func:`dumps`, as UTF-8."""
    text = "".join(_ENCODE(value, 0))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join(_ENCODE_ASCII(value, 0)).encode()


def in_address(text: str, keeps: str = "") -> str:
    """A name as a part of an address. Half a surrogate pair has no UTF-8: it is a question mark there."""
    return quote(text, safe=keeps, errors="replace")


Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
