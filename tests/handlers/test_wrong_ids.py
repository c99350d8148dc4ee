"""Wrong client ids are slowed down by address, and the log names the address."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handlers.request import limits
from handlers.request.limits import MAX_ADDRESSES, MOST_WRONG_IDS, WrongIds
from handlers.server.connection import ClientConnection
from tests.support.harness import CLIENT, Client, make_config, run_server

WRONG = {"X-ClientId": "wrong"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records what is waited instead of waiting; the clients have an address elsewhere."""
    waited: list[float] = []

    async def record(seconds: float) -> None:
        waited.append(seconds)

    class Asyncio:
        sleep = staticmethod(record)

    monkeypatch.setattr(limits, "asyncio", Asyncio)
    monkeypatch.setattr(ClientConnection, "address", "203.0.113.5")
    return waited


async def ask(server: Client, headers: dict[str, str], path: str = "/llm/engines") -> int:
    answer = await server.get(path, headers)
    await answer.body()
    return answer.status


async def test_each_401_after_ten_wrong_ids_comes_a_second_late(
    delays: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with run_server(make_config()) as server:
        for _ in range(MOST_WRONG_IDS):
            assert await ask(server, WRONG) == 401
        assert not delays
        for headers in (WRONG, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {}):
            assert await ask(server, headers) == 401
        assert delays == [1.0] * 4
        assert await ask(server, CLIENT) == 200
        assert len(delays) == 4
    lines = [getattr(record, "fields", {}) for record in caplog.records]
    assert sum("wrong client ids" in line.get("problem", "") for line in lines) == 1
    refused = [line["address"] for line in lines if line.get("status") == 401]
    assert refused == ["203.0.113.5"] * (MOST_WRONG_IDS + 4)
    assert not any("address" in line for line in lines if line.get("status") == 200)


async def test_verify_is_slowed_too(delays: list[float]) -> None:
    async with run_server(make_config()) as server:
        for _ in range(MOST_WRONG_IDS + 1):
            assert (await server.post("/auth/verify", {"clientId": "wrong"}, {})).status == 401
        assert delays == [1.0]


async def test_requests_without_an_id_are_not_counted(delays: list[float]) -> None:
    async with run_server(make_config()) as server:
        for _ in range(MOST_WRONG_IDS + 5):
            assert await ask(server, {}) == 401
        assert not delays


async def test_this_computer_is_not_slowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(WrongIds, "count", lambda self, address, **_: seen.append(address))
    async with run_server(make_config()) as server:
        assert await ask(server, WRONG) == 401
    assert seen == ["127.0.0.1"]
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", ""):
        monkeypatch.undo()
        counts = WrongIds(Clock())
        assert not any(counts.count(address, is_wrong=True) for _ in range(50)), address


async def test_a_late_401_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientConnection, "address", "203.0.113.5")
    monkeypatch.setattr(limits, "DELAY", 0.3)
    async with run_server(make_config()) as server:
        for _ in range(MOST_WRONG_IDS):
            await ask(server, WRONG)
        late = await server.send("GET", "/llm/engines", None, WRONG)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await late.head()
        assert await ask(server, CLIENT) == 200


def test_a_minute_later_the_count_begins_anew() -> None:
    clock = Clock()
    counts = WrongIds(clock)
    assert [counts.count("203.0.113.5", is_wrong=True) for _ in range(12)] == [False] * 10 + [True] * 2
    assert not counts.count("203.0.113.6", is_wrong=True)
    clock.now = 61
    assert not counts.count("203.0.113.5", is_wrong=True)


def test_addresses_of_one_household_count_together_and_their_number_is_limited() -> None:
    counts = WrongIds(Clock())
    assert [counts.count(f"2001:db8::{n:x}", is_wrong=True) for n in range(11)][-1]
    for number in range(MAX_ADDRESSES + 100):
        counts.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", is_wrong=True)
    assert len(counts._counts) == MAX_ADDRESSES
