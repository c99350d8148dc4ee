"""JSON encoding and decoding, by the standard library or, where it is installed, orjson."""

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

# Levels of nested lists and objects. A limit is needed because Python encodes, compares and prints nested values by
# recursion, which fails at a depth that depends on the stack in use. A tool's schema may have 100 levels of two each.
MAX_DEPTH: Final = 256
_INFINITY: Final = float("inf")
_LARGE: Final = 1 << 20  # bytes; a body with one long text, such as an image, is decoded as fast without orjson
_DIGITS: Final = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 19


def import_optional(name: str) -> Any:
    """Imports an optional package of ``requirements-fast.txt``; returns None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


orjson: Final = import_optional("orjson")


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    """Parses a float; rejects 1e999, which would become infinity and could not be encoded again."""
    value = float(text)
    if value in (_INFINITY, -_INFINITY):
        raise ValueError(f"{text} is too large a number")
    return value


def _reject_type(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _create_encoder(quote_text: Callable[[str], str]) -> Callable[[Any, int], Sequence[str]]:
    """Creates once the C encoder that ``JSONEncoder.encode`` creates for every value; it holds no state."""
    encode: Callable[[Any, int], Sequence[str]] = c_make_encoder(
        None, _reject_type, quote_text, None, ":", ",", False, False, False
    )
    return encode


DECODER: Final = json.JSONDecoder(parse_float=_parse_finite, parse_constant=_reject_constant)
BLANK: Final = re.compile(r"[ \t\n\r]*")
_ENCODE: Final = _create_encoder(encode_basestring)
_ENCODE_ASCII: Final = _create_encoder(encode_basestring_ascii)


def loads(text: str | bytes) -> Any:
    """Decodes one JSON text.

    Raises ``ValueError`` for invalid JSON, NaN and Infinity, a number too large for a float, bytes that are not UTF-8
    and nesting beyond ``MAX_DEPTH``.
    """
    value = _decode(text)
    if len(text) > MAX_DEPTH and _count_brackets(text) > MAX_DEPTH and not _is_shallow(value):
        raise ValueError(TOO_DEEP)
    return value


def is_json(text: str) -> bool:
    """True if the text is one JSON value, as :func:`loads` decodes it."""
    try:
        loads(text)
    except ValueError:
        return False
    return True


BOM: Final = b"\xef\xbb\xbf"  # the byte order mark; some clients put it before UTF-8


def _decode_std(text: str | bytes) -> Any:
    """Does what ``JSONDecoder.decode`` does, without its search for blank space in front, which is rare."""
    if isinstance(text, bytes):
        text = text.removeprefix(BOM).decode()
    start = 0 if text[:1] in _OPENING else _skip_blank(text, 0)
    try:
        value, end = DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if end != len(text) and (end := _skip_blank(text, end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


_OPENING: Final = frozenset("{[")


def _skip_blank(text: str, at: int) -> int:
    blank = BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _decode_fast(text: str | bytes) -> Any:
    """Decodes with orjson; texts that the two libraries decode differently go to ``_decode_std``."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        # A whole number beyond 64 bits would become a float.
        if len(raw) < _LARGE and _LONG_NUMBER not in raw.translate(_DIGITS):
            return orjson.loads(raw)
    except ValueError:
        pass
    return _decode_std(text)


_decode: Final = _decode_std if orjson is None else _decode_fast


def _count_brackets(text: str | bytes) -> int:
    return text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")


TOO_DEEP: Final = f"nested too deeply, in more than {MAX_DEPTH} levels"


def _is_shallow(value: Any) -> bool:
    """True if ``value`` is within ``MAX_DEPTH``. Goes level by level: recursion could exhaust the stack."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            return False
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
    return True


def dumps(value: Any) -> str:
    """Encodes ``value`` as compact JSON text that is always valid UTF-8.

    A provider may cut an emoji between two deltas, which leaves one half of a surrogate pair in each. Only such texts
    are written with ``\\u`` escapes, so that a client that joins the deltas gets the emoji back.
    """
    text = "".join(_ENCODE(value, 0))
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_ENCODE_ASCII(value, 0))
    return text


def dump_text(text: str) -> bytes:
    """Encodes one text as ``dump_bytes`` does, at a tenth of the cost."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text).encode()


def dump_bytes(value: Any) -> bytes:
    """Encodes ``value`` as ``dumps`` does, as UTF-8 bytes."""
    text = "".join(_ENCODE(value, 0))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join(_ENCODE_ASCII(value, 0)).encode()


def dump_scalar(value: Any) -> str:
    """Encodes a number, a boolean, null or an empty container."""
    return "".join(_ENCODE(value, 0))


_NEVER_QUOTED: Final = re.compile(r"[A-Za-z0-9_.~-]*")


def quote_url_part(text: str, safe: str = "") -> str:
    """Percent-encodes ``text`` for a URL, except the characters in ``safe``.

    Half a surrogate pair cannot be encoded as UTF-8 and becomes a question mark.
    """
    return text if _NEVER_QUOTED.fullmatch(text) else quote(text, safe=safe, errors="replace")


Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
