"""Connecting to a provider through a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llm.errors import EngineUnreachable, Malformed
from llm.transport.http_client import HttpTransport
from llm.transport.proxy import Proxies
from tests.support.ways import make_get_request
from tests.support.wire_server import (
    OK,
    Wire,
    fetch,
    make_answer_script,
    make_tls_contexts,
    make_transport,
    run_wire_server,
    wait_until,
)

# --- proxies


@asynccontextmanager
async def forwarding(refusal: bytes = b"", behind_refusal: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A proxy: CONNECT and absolute-form. Yields its port and the request heads it received."""
    heads: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def script(wire: Wire) -> None:
        heads.append(await wire.head())
        if refusal:
            await wire.send(refusal)
            await wire.wait_closed()
            return
        target = heads[-1].split(b" ")[1].removeprefix(b"http://").split(b"/")[0].decode()
        host, _, port = target.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        if heads[-1].startswith(b"CONNECT"):
            await wire.send(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n" + behind_refusal)
        else:
            writer.write(heads[-1])
        try:
            await asyncio.gather(pump(wire.reader, writer), pump(reader, wire.writer))
        finally:
            writer.close()

    async with run_wire_server(script) as server:
        yield server.port, heads


async def test_transport_t22_https_goes_through_a_proxy_with_a_password() -> None:
    ours, theirs = make_tls_contexts()
    async with run_wire_server(make_answer_script(OK), tls=ours) as server, forwarding() as (port, heads):
        proxies = {"HTTPS_PROXY": f"http://user:pa%20ss@127.0.0.1:{port}"}
        async with make_transport(proxies=proxies, ssl_context=theirs) as made:
            for _ in range(3):
                assert await fetch(made, make_get_request(server.url, key="secret")) == b"ok"
            assert server.connections == 1  # the tunnel is reused
    [head] = heads
    assert head.split(b"\r\n") == [
        f"CONNECT 127.0.0.1:{server.port} HTTP/1.1".encode(),
        f"Host: 127.0.0.1:{server.port}".encode(),
        b"Proxy-Authorization: Basic dXNlcjpwYSBzcw==",  # user:pa ss
        b"",
        b"",
    ]
    assert server.received == []


async def test_transport_t22_the_provider_s_certificate_is_verified_through_a_proxy() -> None:
    ours, _ = make_tls_contexts()
    async with run_wire_server(make_answer_script(OK), tls=ours) as server, forwarding() as (port, _):
        async with make_transport(proxies={"https_proxy": f"127.0.0.1:{port}"}) as made:
            with pytest.raises(EngineUnreachable, match=r"certificate of 127\.0\.0\.1 is not valid"):
                await made.send(server.get())


async def test_transport_t22_http_goes_through_a_proxy_unless_no_proxy_matches() -> None:
    async with run_wire_server(make_answer_script(OK)) as server, forwarding() as (port, heads):
        proxies = {"http_proxy": f"http://a:b@127.0.0.1:{port}"}
        async with make_transport(proxies=proxies) as made:
            assert await fetch(made, make_get_request(f"{server.url}/through?a=b")) == b"ok"
        async with make_transport(proxies={**proxies, "NO_PROXY": "127.0.0.0/8"}) as made:
            assert await fetch(made, make_get_request(f"{server.url}/direct")) == b"ok"
    [head] = heads
    assert head.startswith(f"GET {server.url}/through?a=b HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n".encode())
    assert b"\r\nproxy-authorization: Basic YTpi\r\n" in head


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_transport_t22_a_refusal_of_the_proxy_is_reported(scheme: str) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with forwarding(refusal) as (port, _):
        proxies = {f"{scheme}_proxy": f"http://user:hush@127.0.0.1:{port}"}
        async with make_transport(proxies=proxies) as made:
            with pytest.raises(EngineUnreachable) as caught:
                await made.send(make_get_request(f"{scheme}://far.example/?secret"))
    assert str(caught.value) == "The proxy 127.0.0.1 refused the connection to far.example: 407."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 200 " + b"x" * 70_000, "it violated the protocol"),
    ],
)
async def test_transport_t22_a_server_that_is_not_a_proxy_is_reported(answer: bytes, reason: str) -> None:
    async with forwarding(answer) as (port, _), make_transport(proxies={"https_proxy": f"127.0.0.1:{port}"}) as made:
        with pytest.raises(EngineUnreachable, match=rf"^The proxy 127\.0\.0\.1 .* far\.example: {reason}\.$"):
            await made.send(make_get_request("https://far.example/"))


async def test_transport_t22_a_proxy_that_disconnects_or_is_unreachable_is_reported(unused_tcp_port: int) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()

    async with run_wire_server(script) as server:
        async with make_transport(proxies={"https_proxy": server.url}) as made:
            with pytest.raises(
                EngineUnreachable, match=r"^The proxy 127\.0\.0\.1 opened no tunnel to far\.example: it closed"
            ):
                await made.send(make_get_request("https://far.example/"))
    async with make_transport(proxies={"https_proxy": f"127.0.0.1:{unused_tcp_port}"}) as made:
        with pytest.raises(
            EngineUnreachable, match=r"^The proxy 127\.0\.0\.1 port \d+ cannot be reached: connection r"
        ):
            await made.send(make_get_request("https://far.example/"))


async def test_transport_t22_a_proxy_that_sends_extra_bytes_is_reported_and_leaks_nothing() -> None:
    async with run_wire_server(make_answer_script(OK)) as server:
        async with forwarding(behind_refusal=b"too early") as (port, _):
            async with make_transport(proxies={"https_proxy": f"127.0.0.1:{port}"}) as made:
                for _ in range(
                    2
                ):  # the second would fail if the socket of the first were still registered with the loop
                    with pytest.raises(EngineUnreachable, match=r"^TLS with 127\.0\.0\.1 "):
                        await made.send(make_get_request(f"https://127.0.0.1:{server.port}/"))
        await wait_until(lambda: not server.wires)


@pytest.mark.parametrize(
    "value", ["socks5://user:hush@a:1", "https://user:hush@a:1", "http://:1", "http://a:hush", "["]
)
def test_transport_t22_an_invalid_proxy_is_an_error_at_start(value: str) -> None:
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY is not an http:// address$"):
        HttpTransport(connect_timeout=1, first_byte_timeout=1, idle_timeout=1, proxies={"https_proxy": value})


def test_transport_t22_the_repr_of_a_proxy_shows_no_password() -> None:
    proxy = Proxies({"HTTP_PROXY": "http://user:hush@a"}).choose_proxy("http", "b", 80)
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.authorization) == ("a", 80, "Basic dXNlcjpodXNo")
    assert "dXNlcjpodXNo" not in repr(proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("", "a.example", False),
        ("*", "a.example", True),
        ("example", "a.example", True),
        (".example", "a.example", True),
        ("*.example", "a.example", True),
        ("b.example", "a.example", False),
        ("ample", "a.example", False),
        ("a.example.org", "a.example", False),
        ("A.Example", "a.example", True),
        ("a.example", "A.EXAMPLE", True),
        ("a.example:443", "a.example", True),
        ("a.example:80", "a.example", False),
        (".example:443", "a.example", True),
        ("*:443", "a.example", True),
        ("*:80", "a.example", False),
        ("x, a.example", "a.example", True),
        ("x a.example", "a.example", True),
        (".", "a.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "a.example", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1:443", "127.0.0.1", True),
        ("127.0.0.1:80", "127.0.0.1", False),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:80", "::1", False),
        ("fd00::/8", "fd00::1", True),
    ],
)
def test_transport_t22_no_proxy_patterns(no_proxy: str, host: str, direct: bool) -> None:
    proxies = Proxies({"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert (proxies.choose_proxy("https", host, 443) is None) == direct
    assert proxies.choose_proxy("http", host, 443) is None  # this scheme has no proxy


async def test_bytes_of_the_proxy_are_not_read_as_the_provider_s_response() -> None:
    """Clear-text bytes after the proxy's response head do not get into the TLS stream."""
    ours, theirs = make_tls_contexts()
    async with run_wire_server(make_answer_script(OK), tls=ours) as server, forwarding(behind_refusal=OK) as (port, _):
        async with make_transport(proxies={"https_proxy": f"127.0.0.1:{port}"}, ssl_context=theirs) as made:
            with pytest.raises((EngineUnreachable, Malformed)):
                await made.send(server.get())
