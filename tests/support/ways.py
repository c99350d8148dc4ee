"""Helper for the tests of connections to a provider."""

from __future__ import annotations

from llm.transport.interface import HttpRequest


def make_get_request(url: str, **headers: str) -> HttpRequest:
    return HttpRequest(method="GET", url=url, headers=headers)
