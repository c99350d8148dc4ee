"""Connecting to a provider: TLS, addresses, socket options."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import ExitStack, suppress

import pytest

from llm.errors import ConnectTimeout, EngineUnreachable
from llm.tools.base import ToolFailed
from llm.tools.fetcher import Fetcher
from llm.transport import names
from llm.transport.egress import Egress
from llm.transport.names import Address
from llm.transport.proxy import Proxies
from tests.support.names import SlowNames, fake_dns, hold_connects, slow_names
from tests.support.ways import make_get_request
from tests.support.wire_server import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    Wire,
    chunk,
    fetch,
    make_answer_script,
    make_tls_contexts,
    make_transport,
    run_wire_server,
    wait_until,
)

__all__ = ["slow_names"]  # a fixture

# --- TLS


async def test_a_response_of_many_tls_records_is_complete() -> None:
    ours, theirs = make_tls_contexts()
    pieces = [b"one ", b"two " * 50_000, "drei ü".encode()]
    answer = CHUNKED + b"".join(map(chunk, pieces)) + LAST_CHUNK
    async with (
        run_wire_server(make_answer_script(answer), tls=ours) as server,
        make_transport(ssl_context=theirs) as made,
    ):
        for _ in range(5):
            assert await fetch(made, server.get()) == b"".join(pieces)
        assert server.connections == 1


async def test_a_large_upload_goes_through_tls_too() -> None:
    async def script(wire: Wire) -> None:
        received = await wire.request()
        await wire.send(OK if received.body == body else OK.replace(b"ok", b"no"))

    ours, theirs = make_tls_contexts()
    body = bytes(range(256)) * 20_000
    async with run_wire_server(script, tls=ours) as server, make_transport(ssl_context=theirs) as made:
        assert await fetch(made, server.post(body)) == b"ok"


async def test_transport_t22_name_and_chain_are_verified() -> None:
    ours, theirs = make_tls_contexts()
    async with run_wire_server(make_answer_script(OK), tls=ours) as server:
        async with make_transport() as made:
            with pytest.raises(EngineUnreachable, match=r"certificate of 127\.0\.0\.1 is not valid: self"):
                await made.send(server.get())
        async with make_transport(ssl_context=theirs) as made:
            with pytest.raises(EngineUnreachable, match=r"certificate of localhost is not valid: [Hh]ostname mismatch"):
                await made.send(make_get_request(f"https://localhost:{server.port}/"))


@pytest.mark.parametrize("how", [Wire.cut, Wire.reset])
async def test_a_broken_handshake_is_reported(how: object) -> None:
    async def script(wire: Wire) -> None:
        await wire.reader.read(1)
        assert callable(how)
        how(wire)

    async with run_wire_server(script) as server, make_transport() as made:
        with pytest.raises(EngineUnreachable, match=r"^TLS with 127\.0\.0\.1 failed: "):
            await made.send(make_get_request(f"https://127.0.0.1:{server.port}/"))


async def test_a_provider_without_tls_is_reported() -> None:
    async def script(wire: Wire) -> None:
        await wire.send(OK)
        await wire.wait_closed()

    async with run_wire_server(script) as server, make_transport() as made:
        with pytest.raises(EngineUnreachable, match=r"^TLS with 127\.0\.0\.1 failed: .*version"):
            await made.send(make_get_request(f"https://127.0.0.1:{server.port}/"))


async def test_the_system_s_certificates_are_read_once() -> None:
    count = 0
    real = ssl.create_default_context

    def counting() -> ssl.SSLContext:
        nonlocal count
        count += 1
        return real()

    ours, _ = make_tls_contexts()
    async with run_wire_server(make_answer_script(OK), tls=ours) as server, make_transport() as made:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ssl, "create_default_context", counting)
            for _ in range(3):
                with pytest.raises(EngineUnreachable):
                    await made.send(server.get())
    assert count == 1


# --- the socket


def socket_to(port: int) -> socket.socket:
    """A copy of this process's socket with that port at its other end."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), ExitStack() as unless_found:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                copy = unless_found.enter_context(socket.socket(fileno=os.dup(int(name))))
                if copy.getpeername() == ("127.0.0.1", port):
                    unless_found.pop_all()
                    return copy
    raise AssertionError("no such socket")


async def test_sockets_have_nodelay_and_tcp_keepalive() -> None:
    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        await fetch(made, server.get())
        with socket_to(server.port) as ours:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            await fetch(made, server.post(b"x" * 100_000))  # a busy provider may read it late
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300_000


# --- unreachable providers


async def test_a_closed_port_is_reported_at_once(unused_tcp_port: int) -> None:
    async with make_transport() as made:
        with pytest.raises(EngineUnreachable, match=rf"^127\.0\.0\.1 port {unused_tcp_port} cannot be reached: conn"):
            await made.send(make_get_request(f"http://127.0.0.1:{unused_tcp_port}/"))


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_an_unknown_host_name_is_reported(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str) -> list[Address]:
        raise failure

    monkeypatch.setattr(names, "look_up", fail)
    async with make_transport() as made:
        with pytest.raises(EngineUnreachable, match=r"^a\.example port 80 cannot be reached: (name or|that is not a)"):
            await made.send(make_get_request("http://a.example/"))


async def test_a_slow_name_lookup_is_a_connect_timeout(slow_names: SlowNames) -> None:
    async with make_transport(connect_timeout=0.05) as made:
        with pytest.raises(ConnectTimeout, match=r"^slow\.test could not be .*\(looking up slow\.test\)"):
            await made.send(make_get_request("http://slow.test/"))


async def test_br_01_a_slow_name_delays_no_other_and_no_numeric_address(slow_names: SlowNames) -> None:
    """More requests than any shared pool of threads has; all of one name wait for one look-up."""
    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        slow = [asyncio.create_task(fetch(made, make_get_request("http://slow.test/"))) for _ in range(40)]
        await wait_until(lambda: slow_names.asked == ["slow.test"])
        assert await fetch(made, server.get()) == b"ok"
        assert await fetch(made, make_get_request(f"http://fast.test:{server.port}/")) == b"ok"
        assert slow_names.asked == ["slow.test", "fast.test"]
        slow_names.answer.set()
        assert {type(error) for error in await asyncio.gather(*slow, return_exceptions=True)} == {EngineUnreachable}


async def test_br_01_names_of_fetch_tools_have_a_bound_of_their_own(slow_names: SlowNames) -> None:
    """A page with many slow names takes the threads of no engine, and at most eight itself."""
    fetcher = Fetcher(Egress(frozenset({("fast.test", 80)})))

    async def read(number: int) -> None:
        with suppress(ToolFailed):
            await fetcher.fetch(f"http://slow{number}.test/", lambda _: True)

    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        pages = [asyncio.create_task(read(number)) for number in range(30)]
        await wait_until(lambda: len(slow_names.asked) == 8)
        assert await fetch(made, make_get_request(f"http://fast.test:{server.port}/")) == b"ok"
        assert len(slow_names.asked) == 9
        slow_names.answer.set()
        await asyncio.gather(*pages)
        assert len(slow_names.asked) == 31
    await fetcher.close()


async def test_the_second_address_of_a_name_is_tried_when_the_first_refuses() -> None:
    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        with fake_dns(a_example=["127.0.0.3", "127.0.0.1"]):
            assert await fetch(made, make_get_request(f"http://a.example:{server.port}/")) == b"ok"


@pytest.mark.parametrize("first", [["127.0.0.9"], ["127.0.0.9", "127.0.0.8"], ["::1", "127.0.0.9"]], ids=str)
async def test_br_02_the_next_address_is_tried_while_one_does_not_answer(
    first: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a family too; the dead ones are tried last from then on."""
    tried = hold_connects(monkeypatch, *first)
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with run_wire_server(make_answer_script(closing)) as server, make_transport() as made:
        with fake_dns(two_test=[*first, "127.0.0.1"]):
            for expected in ({*first, "127.0.0.1"}, {"127.0.0.1"}):
                tried.clear()
                assert await fetch(made, make_get_request(f"http://two.test:{server.port}/")) == b"ok"
                assert set(tried) == expected


async def test_all_dead_addresses_are_a_connect_timeout_and_leave_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_connects(monkeypatch, "127.0.0.9", "127.0.0.8")
    async with make_transport(connect_timeout=0.4) as made:
        with fake_dns(two_test=["127.0.0.9", "127.0.0.8"]):
            with pytest.raises(ConnectTimeout, match=r"\(connecting to two\.test port 80\)"):
                await made.send(make_get_request("http://two.test/"))


def test_transport_t22_lower_case_variables_win() -> None:
    proxies = Proxies({"https_proxy": "http://small", "HTTPS_PROXY": "http://large", "NO_PROXY": "*", "no_proxy": "x"})
    proxy = proxies.choose_proxy("https", "a", 443)
    assert proxy is not None
    assert proxy.host == "small"
