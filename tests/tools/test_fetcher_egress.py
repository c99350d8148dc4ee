"""X1 with the real tool: evil URLs, direct or by a redirect, reach nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from llm.tools.base import ToolFailed
from llm.tools.fetcher import Fetcher
from llm.tools.web_page import GetHtmlAsText
from llm.transport.egress import Egress, read_allow_entry
from llm.transport.http_client import HttpTransport
from tests.support.names import FakeDns, fake_dns, record_connects
from tests.support.wire_server import Wire, make_answer_script, run_wire_server

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret"

NAMES: dict[str, str | list[str]] = {
    "start_test": "127.0.0.1",
    "localhost": ["::1", "127.0.0.1"],
    "local_test": "127.0.0.1",
    "all_test": ["0.0.0.0", "::"],
    "six_test": "::1",
    "mapped_test": "::ffff:127.0.0.1",
    "nat_test": "64:ff9b::127.0.0.1",
    "sixtofour_test": "2002:7f00:1::",
    "teredo_test": "2001:0:7f00:1::",
    "private_test": ["10.0.0.5", "172.16.0.5", "192.168.0.5"],
    "carrier_test": "100.64.0.1",
    "metadata_google_internal": "169.254.169.254",
    "linklocal_test": "fe80::1%1",
    "unique_test": "fd00:ec2::254",
    "multicast_test": "224.0.0.251",
    "reserved_test": "240.0.0.1",
    "many_test": [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(2000)],
}

# ``{port}`` is one on which a server waits on loopback. Numeric spellings are libc's, names those above.
EVIL = [
    # loopback in every spelling
    "http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/", "http://0x7f.1:{port}/", "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/", "http://0177.0x0.0.1:{port}/", "http://127.0.0.1.:{port}/", "http://127.8.8.8:{port}/",
    "http://0.0.0.0:{port}/", "http://0:{port}/", "http://0x0:{port}/", "http://１２７.0.0.1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/",
    # loopback in IPv6
    "http://[::1]:{port}/", "http://[::]:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/", "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/", "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://[::1%25lo]:{port}/",
    # names
    "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://localhost.:{port}/", "http://ⓛocalhost:{port}/",
    "http://local.test:{port}/", "http://all.test:{port}/", "http://six.test:{port}/", "http://mapped.test:{port}/",
    "http://nat.test:{port}/", "http://sixtofour.test:{port}/", "http://teredo.test:{port}/", "http://many.test:{port}/",
    # other private networks
    "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://100.64.0.1/",
    "http://private.test/", "http://carrier.test/", "http://unique.test/", "http://linklocal.test/", "http://[fe80::1]/",
    "http://[fc00::1]/", "http://[fec0::1]/",
    # metadata
    "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://0xa9fea9fe/",
    "http://2852039166/", "http://metadata.google.internal/computeMetadata/v1/", "http://[fd00:ec2::254]/",
    "http://100.100.100.200/", "http://168.63.129.16/", "http://192.0.0.192/", "http://169.254.170.2/v2/credentials",
    # unassigned addresses
    "http://255.255.255.255/", "http://224.0.0.1/", "http://multicast.test/", "http://reserved.test/", "http://198.18.0.1/",
    "http://192.0.2.1/", "http://[2001:db8::1]/", "http://[ff02::1]/",
    # misleading ones
    "http://example.org@127.0.0.1:{port}/", "http://example.org%40127.0.0.1:{port}/", "http://127.0.0.1:{port}@example.org/",
    "http://127.0.0.1:{port}\\@example.org/", "http://example.org\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.org/",
    "http://127.0.0.1:{port}?@example.org/", "http:127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "http://127.0.0.1:22/", "http://example.org:25/", "http://example.org:0/", "http://[::1]:6379/",
    # other schemes
    "https://127.0.0.1:{port}/", "file:///etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/", "data:text/plain,secret", "javascript:secret", "ws://127.0.0.1:{port}/", "unix:/run/x",
    "jar:http://127.0.0.1:{port}/!/", "netdoc:///etc/passwd", "about:blank", "",
]  # fmt: skip


class Anywhere(Egress):
    """Allows every address, for comparison with the real check."""

    def allows(self, host: str, port: int, address: str) -> bool:
        return True


@asynccontextmanager
async def tool(egress: Egress) -> AsyncIterator[GetHtmlAsText]:
    fetcher = Fetcher(egress)
    try:
        yield GetHtmlAsText(fetcher)
    finally:
        await fetcher.close()


def permitted(*entries: str) -> Egress:
    return Egress(frozenset(read_allow_entry(entry) for entry in entries))


def redirect(to: str, status: int = 302) -> bytes:
    head = f"HTTP/1.1 {status} Found\r\nLocation: {to}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    return head.encode()


@pytest.fixture
def evil_host_names() -> Iterator[type[FakeDns]]:
    with fake_dns(**NAMES) as made:
        yield made


def test_x1_there_are_at_least_forty_evil_urls() -> None:
    assert len(set(EVIL)) == len(EVIL) >= 40


@pytest.mark.usefixtures("evil_host_names")
@pytest.mark.parametrize("url", EVIL)
async def test_x1_an_evil_url_reaches_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meant = record_connects(monkeypatch)
    async with run_wire_server(make_answer_script(PAGE)) as server, tool(Egress()) as page:
        with pytest.raises(ToolFailed) as caught:
            await page({"url": url.format(port=server.port)})
    assert not meant and not server.connections
    assert "secret" not in str(caught.value).replace(url, "")


@pytest.mark.usefixtures("evil_host_names")
@pytest.mark.parametrize("url", EVIL)
async def test_x1_a_redirect_to_an_evil_url_reaches_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meant = record_connects(monkeypatch, "127.0.0.1")

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(redirect(url.format(port=server.port)))

    async with run_wire_server(script) as server, tool(permitted(f"start.test:{server.port}")) as page:
        with pytest.raises(ToolFailed):
            await page({"url": f"http://start.test:{server.port}/"})
    assert meant[0] == ("127.0.0.1", server.port)
    # A target that is not an absolute URL leads back to the same server until the limit of redirects.
    back = all(address == ("127.0.0.1", server.port) for address in meant) and set(FakeDns.lookups) == {"start.test"}
    assert len(meant) == 1 or back


@pytest.mark.usefixtures("evil_host_names")
async def test_x1_without_the_check_most_evil_urls_reach_something(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = record_connects(monkeypatch)
    reaching = 0
    async with tool(Anywhere(frozenset())) as page:
        for url in EVIL:
            meant.clear()
            with pytest.raises(ToolFailed):
                await page({"url": url.format(port=8000)})
            reaching += bool(meant)
    assert reaching >= 60


async def test_x1_a_name_that_resolves_differently_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 stands for a public address; the second look-up of the same name returns a private one."""
    meant = record_connects(monkeypatch, "127.0.0.2", "127.0.0.1")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(redirect("/again"))
        writer.close()

    public = await asyncio.start_server(accept, "127.0.0.2", 0)
    port = public.sockets[0].getsockname()[1]
    async with public, tool(permitted(f"127.0.0.2:{port}")) as page:
        with fake_dns(turning_test=[["127.0.0.2"], ["127.0.0.1"]]) as asked:
            with pytest.raises(ToolFailed, match=r"turning\.test port .* is not public"):
                await page({"url": f"http://turning.test:{port}/"})
            assert asked.lookups == ["turning.test", "turning.test"]
    assert meant == [("127.0.0.2", port)]


async def test_x1_the_connection_uses_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one look-up per connection, so no second one could return another address."""
    meant = record_connects(monkeypatch)
    with fake_dns(turning_test=[["93.184.216.34"], ["127.0.0.1"]]) as asked:
        async with tool(Egress()) as page:
            with pytest.raises(ToolFailed):
                await page({"url": "http://turning.test/"})
    assert meant == [("93.184.216.34", 80)] and len(asked.lookups) == 1


async def test_x1_only_the_public_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = record_connects(monkeypatch)
    with fake_dns(mixed_test=["127.0.0.1", "93.184.216.34", "10.0.0.1", "::1", "2606:4700::1111", "fe80::1%1"]):
        async with tool(Egress()) as page:
            with pytest.raises(ToolFailed):
                await page({"url": "http://mixed.test/"})
    assert sorted(meant) == [("2606:4700::1111", 80), ("93.184.216.34", 80)]


async def test_only_a_limited_number_of_addresses_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = record_connects(monkeypatch)
    with fake_dns(many_test=[f"93.{n // 250}.{n % 250}.1" for n in range(3000)]):
        async with tool(Egress()) as page:
            with pytest.raises(ToolFailed):
                await page({"url": "http://many.test/"})
    assert len(meant) == 16


async def test_only_the_permitted_host_and_port_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    record_connects(monkeypatch, "127.0.0.1")
    with fake_dns(wiki_test="127.0.0.1", other_test="127.0.0.1"):
        async with (
            run_wire_server(make_answer_script(PAGE)) as wiki,
            run_wire_server(make_answer_script(PAGE)) as next_door,
        ):
            async with tool(permitted(f"wiki.test:{wiki.port}")) as page:
                assert await page({"url": f"http://wiki.test:{wiki.port}/"}) == {"content": "secret"}
                for host, server in (("other.test", wiki), ("127.0.0.1", wiki), ("wiki.test", next_door)):
                    with pytest.raises(ToolFailed, match="is not public"):
                        await page({"url": f"http://{host}:{server.port}/"})
            async with tool(permitted(f"127.0.0.1:{wiki.port}")) as page:
                assert await page({"url": f"http://other.test:{wiki.port}/"}) == {"content": "secret"}
                with pytest.raises(ToolFailed, match="is not public"):
                    await page({"url": f"http://other.test:{next_door.port}/"})
    assert (wiki.connections, next_door.connections) == (2, 0)


async def test_a_fetch_uses_no_proxy() -> None:
    with pytest.raises(ValueError, match="proxy"):
        HttpTransport(
            connect_timeout=1,
            first_byte_timeout=1,
            idle_timeout=1,
            address_filter=Egress().allows,
            proxies={"HTTPS_PROXY": "http://p:1"},
        )
