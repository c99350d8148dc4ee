"""The caller of a request and the provider keys that it brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llm.engines.engine import Engine
from llm.errors import InvalidRequest
from llm.storage.threads import Owner


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. ``trusted``: it sent a valid client id, so it may use the server's own keys."""

    trusted: bool
    names: frozenset[str] = frozenset()  # identify the caller in storage: hashes, never a key or an id
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # the caller's own keys, by engine

    def make_thread_owner(self) -> Owner:
        """Returns the owner of this caller's threads."""
        return Owner(self.names, self.trusted)


def list_client_ids(headers: Mapping[str, str]) -> Iterator[str]:
    """Yields the values of all headers in which clients send a client id: their API keys for other services."""
    yield headers.get("X-ClientId", "")
    scheme, _, token = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
    elif not token:  # the id alone
        yield scheme
    yield headers.get("x-api-key", "")
    yield headers.get("api-key", "")  # Azure's clients
    yield headers.get("x-goog-api-key", "")  # Gemini's clients


def read_header_keys(headers: Mapping[str, str], engines: Mapping[str, Engine]) -> dict[str, str]:
    """Reads a caller's own provider keys from ``x-<engine>-key`` headers. Header names are in lower case."""
    found = {}
    for name, value in headers.items():
        if name[:2] == "x-" and name[-4:] == "-key" and (engine := name[2:-4]) in engines and value.strip():
            found[engine] = _check_key(name.title(), value)
    return found


_KEY_SUFFIX: Final = "Key"  # of the field names ``{engine}Key``


def pop_body_keys(body: dict[str, Any], engines: Mapping[str, Engine]) -> dict[str, str]:
    """Removes the ``{engine}Key`` fields from ``body`` and returns the keys; no later code can log them (X9)."""
    found = {}
    for field_name in [*body]:
        if field_name[-3:] == _KEY_SUFFIX and (engine := engines.get(field_name[:-3])) is not None:
            value = body.pop(field_name)
            if isinstance(value, str) and value.strip():
                found[engine.name] = _check_key(field_name, value)
    return found


def _check_key(source: str, value: str) -> str:
    key = value.strip()
    if not key.isascii() or not key.isprintable():  # it is sent as a header value
        raise InvalidRequest(f"{source}: contains characters that are not allowed in a key", param=source)
    return key
