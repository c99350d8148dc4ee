"""Who asks, and with which provider keys of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llm.engines.engine import Engine
from llm.errors import InvalidRequest
from llm.storage.threads import Owner


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``trusted``: gave a valid client id, so the server's own keys may be spent."""

    trusted: bool
    names: frozenset[str] = frozenset()  # stand for the caller in bookkeeping; hashes, never a key or an id
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # the caller's own, by engine

    def thread_owner(self) -> Owner:
        return Owner(self.names, self.trusted)


def keys_from_headers(headers: Mapping[str, str], engines: Mapping[str, Engine]) -> dict[str, str]:
    """A caller's own provider keys from ``x-<engine>-key`` headers, whose names are in small letters."""
    found = {}
    for name, value in headers.items():
        if name[:2] == "x-" and name[-4:] == "-key" and (engine := name[2:-4]) in engines and value.strip():
            found[engine] = _own_key(name.title(), value)
    return found


_KEY_FIELD: Final = "Key"  # how the names of those fields end


def keys_from_body(body: dict[str, Any], engines: Mapping[str, Engine]) -> dict[str, str]:
    """Takes the ``{engine}Key`` fields out of ``body``, so that nothing behind this can see or log them (X9)."""
    found = {}
    for field_name in [name for name in body if name[-3:] == _KEY_FIELD]:
        engine = engines.get(field_name.removesuffix(_KEY_FIELD))
        if engine is not None:
            value = body.pop(field_name)
            if isinstance(value, str) and value.strip():
                found[engine.name] = _own_key(field_name, value)
    return found


def _own_key(place: str, value: str) -> str:
    key = value.strip()
    if not key.isascii() or not key.isprintable():  # it will be the value of a header
        raise InvalidRequest(f"{place}: holds characters that no key has", param=place)
    return key
