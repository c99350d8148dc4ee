"""Connecting to a provider: TLS, addresses, socket options."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import ExitStack, suppress

import pytest

from llm.errors import ConnectTimeout, EngineUnreachable
from llm.transport.proxy import Proxies
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
)

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


# --- unreachable providers


async def test_a_closed_port_is_reported_at_once(unused_tcp_port: int) -> None:
    async with make_transport() as made:
        with pytest.raises(EngineUnreachable, match=rf"^127\.0\.0\.1 port {unused_tcp_port} cannot be reached: conn"):
            await made.send(make_get_request(f"http://127.0.0.1:{unused_tcp_port}/"))


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_an_unknown_host_name_is_reported(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> object:
        raise failure

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with make_transport() as made:
        with pytest.raises(EngineUnreachable, match=r"^a\.example port 80 cannot be reached: (name or|that is not a)"):
            await made.send(make_get_request("http://a.example/"))


async def test_a_slow_name_lookup_is_a_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> object:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with make_transport(connect_timeout=0.05) as made:
        with pytest.raises(ConnectTimeout, match=r"^a\.example could not be .*\(looking up a\.example\)"):
            await made.send(make_get_request("http://a.example/"))


async def test_the_second_address_of_a_name_is_tried_when_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> object:
        addresses = ("127.0.0.1", unused_tcp_port), ("127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    async with run_wire_server(make_answer_script(OK)) as server, make_transport() as made:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        assert await fetch(made, make_get_request(f"http://a.example:{server.port}/")) == b"ok"


def test_transport_t22_lower_case_variables_win() -> None:
    proxies = Proxies({"https_proxy": "http://small", "HTTPS_PROXY": "http://large", "NO_PROXY": "*", "no_proxy": "x"})
    proxy = proxies.choose_proxy("https", "a", 443)
    assert proxy is not None
    assert proxy.host == "small"
