"""What is known of a stored thread and of its owner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Who asks for a thread: the names of a ``Caller``, of which any will do."""

    names: frozenset[str]
    trusted: bool  # with a client id: may take over a thread of the older server, which knew no owners


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    id: str
    title: str
    created: float  # seconds since 1970
    updated: float
    messages: int  # how many
