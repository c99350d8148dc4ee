"""Helpers for thread requests: create one, read its messages, the saved state in a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.harness import CLIENT, Client

NDJSON = {"Accept": "application/x-ndjson"}


async def create_thread(server: Client, headers: Mapping[str, str] = CLIENT, **body: Any) -> str:
    answer = await server.request("PUT", "/thread", body or None, headers)
    assert answer.status == 200
    id: str = (await answer.json())["id"]
    return id


async def read_thread(server: Client, id: str, headers: Mapping[str, str] = CLIENT) -> Any:
    answer = await server.get(f"/thread/{id}", headers)
    return await answer.json() if answer.status == 200 else answer.status


def read_thread_state(objects: list[Any]) -> Any:
    (end,) = [o for o in objects if o["type"] == "content" and o["done"]]
    return end["thread"]
