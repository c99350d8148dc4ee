"""Name look-ups: what is looked up, how long an answer is kept, and what happens when its addresses are dead."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from llm.transport import names
from llm.transport.names import FRESH_TIME, MAX_ANSWERS, STALE_TIME, NameLookups
from tests.support.names import fake_dns, record_connects
from tests.support.ways import make_get_request
from tests.support.wire_server import OK, fetch, make_answer_script, make_transport, run_wire_server, wait_until


class Clock:
    """Replaces ``time.monotonic`` of the module."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(names, "monotonic", made)
    return made


async def find(lookups: NameLookups, host: str = "a.test") -> list[str]:
    return [address[0] for _, address in await lookups.find(host, 80)]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1%1", "::ffff:1.2.3.4"])
async def test_br_01_a_numeric_address_is_not_looked_up(host: str) -> None:
    with fake_dns() as asked:
        found = await NameLookups().find(host, 443)
    assert not asked.lookups
    assert found[0][1][1] == 443 and found[0][0] == (socket.AF_INET6 if ":" in host else socket.AF_INET)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "a.test", "A.Test", "localhost", "1.2.3"])
async def test_other_spellings_are_looked_up_in_a_thread(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def look_up(host: str) -> list[names.Address]:
        threads.append(threading.current_thread())
        return [(int(socket.AF_INET), ("127.0.0.1", 0))]

    monkeypatch.setattr(names, "look_up", look_up)
    assert await find(NameLookups(), host) == ["127.0.0.1"]
    assert threads != [threading.main_thread()] and threads[0].daemon


async def test_br_01_an_answer_is_kept_then_used_while_it_is_renewed(clock: Clock) -> None:
    lookups = NameLookups()
    with fake_dns(a_test=[["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"]]) as asked:
        assert await find(lookups) == ["10.0.0.1"]
        clock.now += FRESH_TIME - 1
        assert await find(lookups) == ["10.0.0.1"]
        assert len(asked.lookups) == 1
        clock.now += 2
        assert await find(lookups) == ["10.0.0.1"]  # the old one, at once
        await wait_until(lambda: len(asked.lookups) == 2 and not lookups.running)
        assert await find(lookups) == ["10.0.0.2"]
        clock.now += STALE_TIME
        assert await find(lookups) == ["10.0.0.3"]


async def test_a_failed_renewal_keeps_the_old_answer(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = NameLookups()
    with fake_dns(a_test="10.0.0.1"):
        await find(lookups)

    def fail(host: str) -> list[names.Address]:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(names, "look_up", fail)
    clock.now += FRESH_TIME + 1
    for _ in range(3):
        assert await find(lookups) == ["10.0.0.1"]
        await wait_until(lambda: not lookups.running)
    clock.now += STALE_TIME
    with pytest.raises(OSError, match="Temporary failure"):
        await find(lookups)


async def test_the_number_of_kept_answers_is_limited() -> None:
    lookups = NameLookups()
    with fake_dns(**{f"n{number}_test": "10.0.0.1" for number in range(MAX_ANSWERS + 2)}) as asked:
        for number in range(MAX_ANSWERS + 2):
            await find(lookups, f"n{number}.test")
        await find(lookups, f"n{MAX_ANSWERS + 1}.test")
        assert len(asked.lookups) == MAX_ANSWERS + 2
        await find(lookups, "n0.test")
        assert len(asked.lookups) == MAX_ANSWERS + 3


async def test_a_cancelled_wait_leaves_the_look_up_to_the_others() -> None:
    lookups, go = NameLookups(), threading.Event()

    def look_up(host: str) -> list[names.Address]:
        go.wait(10)
        return [(int(socket.AF_INET), ("10.0.0.1", 0))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "look_up", look_up)
        one, other = asyncio.create_task(find(lookups)), asyncio.create_task(find(lookups))
        await wait_until(lambda: lookups.running == 1)
        one.cancel()
        await asyncio.wait({one})
        go.set()
        assert one.cancelled() and await other == ["10.0.0.1"]


async def test_a_name_whose_kept_addresses_refuse_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that came back with another address, for example."""
    record_connects(monkeypatch, "127.0.0.1")
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with run_wire_server(make_answer_script(closing)) as server, make_transport() as made:
        with fake_dns(moved_test=[["127.0.0.1"], ["127.0.0.7"], ["127.0.0.7"], ["127.0.0.1"]]) as asked:
            url = f"http://moved.test:{server.port}/"
            assert await fetch(made, make_get_request(url)) == b"ok"
            made.names.renew_later("moved.test")
            await wait_until(lambda: len(asked.lookups) == 2 and not made.names.running)
            asked.answers["moved.test"] = [["127.0.0.1"]]
            assert await fetch(made, make_get_request(url)) == b"ok"


async def test_without_kept_answers_each_connection_looks_its_name_up() -> None:
    lookups = NameLookups(keep_answers=False)
    with fake_dns(a_test=[["10.0.0.1"], ["10.0.0.2"]]):
        assert await find(lookups) == ["10.0.0.1"]
        assert await find(lookups) == ["10.0.0.2"]
