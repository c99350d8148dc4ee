"""Fakes DNS look-ups and records every address that a socket connects to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llm.transport import dialler, names
from llm.transport.names import Address


class FakeDns:
    """Answers each look-up of a name with its next answer, then with its last. Numeric hosts are resolved by libc."""

    answers: dict[str, list[list[str]]] = {}  # noqa: RUF012  set anew by ``names``
    lookups: list[str] = []  # noqa: RUF012

    @classmethod
    def look_up(cls, host: str) -> list[Address]:
        cls.lookups.append(host)
        rest = cls.answers.get(host.lower())
        texts = [host] if rest is None else rest[0] if len(rest) == 1 else rest.pop(0)
        found = []
        for text in texts:
            for kind, _, _, _, address in socket.getaddrinfo(
                text, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "look_up", FakeDns.look_up)
        yield FakeDns


def record_connects(monkeypatch: pytest.MonkeyPatch, *ours: str) -> list[tuple[str, int]]:
    """Returns the list of addresses that sockets connect to. Only those of ``ours`` are really connected (offline)."""
    meant: list[tuple[str, int]] = []
    real = dialler.connect_socket

    async def connect(address: Address) -> socket.socket:
        meant.append(address[1][:2])
        if address[1][0] not in ours:
            raise OSError("not in a test")
        return await real(address)

    monkeypatch.setattr(dialler, "connect_socket", connect)
    return meant


class SlowNames:
    """Answers for ``fast.test`` at once; every other look-up waits for ``answer`` and then fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()

    def look_up(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host == "fast.test":
            return [(int(socket.AF_INET), ("127.0.0.1", 0))]
        self.answer.wait(30)
        raise socket.gaierror(-3, "Temporary failure in name resolution")


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowNames]:
    slow = SlowNames()
    monkeypatch.setattr(names, "look_up", slow.look_up)
    yield slow
    slow.answer.set()


def hold_connects(monkeypatch: pytest.MonkeyPatch, *dead: str) -> list[str]:
    """Lets the addresses ``dead`` answer no attempt to connect. Returns the list of all that are tried."""
    tried: list[str] = []
    real = dialler.connect_socket

    async def connect(address: Address) -> socket.socket:
        tried.append(address[1][0])
        if address[1][0] in dead:
            await asyncio.Event().wait()
        return await real(address)

    monkeypatch.setattr(dialler, "connect_socket", connect)
    return tried
