"""Fakes DNS look-ups and records every address that a socket connects to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tornado.iostream import IOStream
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient


class FakeDns(Resolver):
    """Answers each look-up of a name with its next answer, then with its last. Numeric hosts are resolved by libc."""

    answers: dict[str, list[list[str]]] = {}  # noqa: RUF012  set anew by ``names``
    lookups: list[str] = []  # noqa: RUF012

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        self.lookups.append(host)
        rest = self.answers.get(host.lower())
        texts = [host] if rest is None else rest[0] if len(rest) == 1 else rest.pop(0)
        found = []
        for text in texts:
            for kind, _, _, _, address in socket.getaddrinfo(
                text, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            ):
                found.append((int(kind), address))
        return found


@contextmanager
def fake_dns(**answers: str | list[str] | list[list[str]]) -> Iterator[type[FakeDns]]:
    """Builds fake look-ups: ``wiki_test="10.0.0.1"`` answers for ``wiki.test``; a list of lists has one answer per look-up."""
    FakeDns.answers, FakeDns.lookups = {}, []
    for name, told in answers.items():
        several = [told] if isinstance(told, str) else told
        every = several if several and isinstance(several[0], list) else [several]
        FakeDns.answers[name.replace("_", ".")] = every  # type: ignore[assignment]
    Resolver.configure(FakeDns)
    try:
        yield FakeDns
    finally:
        Resolver.configure(None)


def record_connects(monkeypatch: pytest.MonkeyPatch, *ours: str) -> list[tuple[str, int]]:
    """Returns the list of addresses that sockets connect to. Only those of ``ours`` are really connected (offline)."""
    meant: list[tuple[str, int]] = []
    real = TCPClient._create_stream

    def create(self: TCPClient, size: int | None, kind: Any, address: Any, **more: Any) -> tuple[IOStream, Any]:
        meant.append(address[:2])
        if address[0] not in ours:
            raise OSError("not in a test")
        return real(self, size, kind, address, **more)

    monkeypatch.setattr(TCPClient, "_create_stream", create)
    return meant
