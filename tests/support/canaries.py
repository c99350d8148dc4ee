"""Searches all output of a server under test for the keys that it was given: none may appear (X4).

``tests/support/harness.py`` registers the keys and passes on the output: every byte sent to a client, the URLs of
requests to engines, and the written files. ``tests/conftest.py`` adds printed text and log records before the log's
redaction. A test in which a key is found fails.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from llm.log import JsonFormatter, Redactor

MIN_KEY_LENGTH: Final = 8  # characters: a shorter key may occur in any text by chance
# Keys in the documentation of servers that check no key: they may appear.
PLACEHOLDERS: Final = (
    "EMPTY",
    "ollama",
    "none",
    "dummy",
    "test",
    "token",
    "sk-1234",
    "lm-studio",
    "token-abc123",
    "x",
    "0",
)
_LOGGERS: Final = ("llm", "tornado", "asyncio")
_LARGEST: Final = 64 * 1024 * 1024  # bytes of a file that are searched


class Watch:
    """The keys that must not appear in this test, and the places where one did."""

    def __init__(self) -> None:
        self.leaks: list[str] = []
        self._secrets: set[bytes] = set()

    def reset(self) -> None:
        self.leaks.clear()
        self._secrets.clear()

    def register(self, secrets: Iterable[str]) -> None:
        for secret in {*secrets}.difference(PLACEHOLDERS):
            assert len(secret) >= MIN_KEY_LENGTH, f"the key {secret!r} is too short to be found again: mark it"
            self._secrets.add(secret.encode())

    def register_own_keys(self, headers: Iterable[tuple[str, str]], body: object) -> None:
        """Registers the caller's own provider keys in the headers and the body of a request."""
        found = [value for name, value in headers if name.lower().startswith("x-") and name.lower().endswith("-key")]
        if isinstance(body, dict):
            found += [v for name, v in body.items() if name.endswith("Key") and isinstance(v, str)]
        self._secrets |= {value.encode() for value in found if len(value) >= MIN_KEY_LENGTH and value.isascii()}

    def search(self, where: str, seen: bytes | str) -> None:
        data = seen.encode("utf-8", "replace") if isinstance(seen, str) else seen
        self.leaks += [f"{secret.decode()} in {where}" for secret in self._secrets if secret in data]

    def search_files(self, folder: Path) -> None:
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.is_file() and path.stat().st_size <= _LARGEST:
                self.search(f"the file {path.name}", path.read_bytes())


WATCH: Final = Watch()


class SearchedSocket:
    """Wraps a client's socket on the server's side and searches what is sent, across the borders of pieces."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._last = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, data: Any, *flags: int) -> int:
        sent: int = self._socket.send(data, *flags)
        seen = self._last + bytes(data[:sent])
        WATCH.search("what a client was sent", seen)
        self._last = seen[-200:]
        return sent


def wrap_connections(listener: Any) -> None:
    """Wraps the sockets of all connections that this listener accepts."""
    add_client = listener.add_client
    listener.add_client = lambda client: add_client(SearchedSocket(client))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        WATCH.search("the log", self.format(record))


def watch_logs() -> None:
    handler = _Handler()
    handler.setFormatter(JsonFormatter(_Blind()))
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("llm").setLevel(logging.INFO)


class _Blind(Redactor):
    """A redactor that removes nothing: a key must be removed before it reaches the log's redaction."""

    def __call__(self, text: str) -> str:
        return text


def parse_json(body: object) -> object:
    """Returns the fields of a body, given as an object or as bytes."""
    if isinstance(body, bytes):
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None
    return body
