"""Which URLs and addresses a fetch may reach."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.config.parsers import ConfigError
from llm.config.settings import Config
from llm.transport.egress import Egress, UrlRefused, is_public, read_allow_entry

PUBLIC = ["93.184.216.34", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "198.20.0.1",
          "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::8a", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"]  # fmt: skip
SPECIAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254", "64:ff9b:1::7f00:1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert Egress().allows("example.org", 443, address)


@pytest.mark.parametrize("address", SPECIAL)
def test_x1_a_special_address_may_not_be_reached(address: str) -> None:
    assert not Egress().allows("example.org", 443, address)


@given(st.ip_addresses())
def test_addresses_that_python_calls_not_global_are_not_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")
    ):
        assert is_public(address) == is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    elif not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(address)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "93.184.216.34%eth0x", "", "localhost", "/run/socket", "1.1.1"])
def test_an_invalid_address_may_not_be_reached(address: str) -> None:
    assert Egress().allows("example.org", 443, address) == address.startswith("93.")


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://example.org", "https://example.org"),
        (" https://example.org/a b ".replace("a b", "a%20b"), "https://example.org/a%20b"),
        ("https://de.wikipedia.org/wiki/Köln?q=ü&r=%C3%BC#Dom", "https://de.wikipedia.org/wiki/K%C3%B6ln?q=%C3%BC&r=%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("HTTPS://Example.ORG.:8443/", "https://example.org:8443/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
    ],
)  # fmt: skip
def test_a_url_is_read_as_people_write_it(url: str, plain: str) -> None:
    assert Egress().parse_url(url).url == plain


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/_x",
        "javascript:alert(1)", "data:text/html,x", "http:", "http://", "http:///etc/passwd", "http://:80/", "http://a b/",
        "http://user@example.org/", "http://example.org@127.0.0.1/", "http://a:b@example.org/", "http://example.org\\@x/",
        "http://example.org/\r\nHost: x", "http://example.org:0/", "http://example.org:22/", "http://example.org:25/",
        "http://example.org:6667/", "http://example.org:99999/", "http://example.org:x/", "http://[::1", "http://[::1%25lo]/",
        "http://[fe80::1%lo]/", "http://[v1.x]/", "http://a..b/", "http://%6c%6fcalhost/", "http://exa$mple/",
        f"http://example.org/{'x' * 5000}", "http://" + "a" * 64 + "/", "http://\ud800/",
    ],
)  # fmt: skip
def test_x1_a_url_that_cannot_be_followed_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        Egress().parse_url(url)
    assert str(caught.value).endswith(".")


@given(st.text(max_size=60) | st.text(alphabet="htps:/@[]%.\\#?0127abx", max_size=30).map("http://".__add__))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        where = Egress().parse_url(text)
    except UrlRefused:
        return
    assert where.url.isascii() and where.scheme in ("http", "https") and where.host


def test_fetch_allow_permits_exactly_that_host_and_port() -> None:
    permitted = Config.from_env({"FETCH_ALLOW": "Wiki.Internal:8080, 10.0.0.7:9000,[FD00::7]:443"}).fetch_allow
    egress = Egress(frozenset(permitted))
    assert egress.allows("wiki.internal", 8080, "10.0.0.5")
    assert egress.allows("WIKI.internal.", 8080, "127.0.0.1")
    assert egress.allows("any.name", 9000, "10.0.0.7")
    assert egress.allows("any.name", 9000, "::ffff:10.0.0.7")
    assert egress.allows("any.name", 443, "fd00::7")
    for host, port, address in (
        ("wiki.internal", 8081, "10.0.0.5"),
        ("other.internal", 8080, "10.0.0.5"),
        ("a.wiki.internal", 8080, "10.0.0.5"),
        ("any.name", 9001, "10.0.0.7"),
        ("any.name", 9000, "10.0.0.8"),
        ("any.name", 443, "fd00::8"),
    ):
        assert not egress.allows(host, port, address)


def test_a_permitted_port_does_not_permit_other_hosts() -> None:
    egress = Egress(frozenset({read_allow_entry("git.internal:22")}))
    assert egress.parse_url("http://git.internal:22/").port == 22
    assert egress.allows("git.internal", 22, "10.0.0.5")
    assert not egress.allows("example.org", 22, "93.184.216.34")


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", "host:", ":80", "10.0.0.0/8:80", "http://x:80", "*:80", "::1:80"],
)
def test_an_entry_of_fetch_allow_is_one_host_and_one_port(text: str) -> None:
    with pytest.raises(ConfigError, match="FETCH_ALLOW"):
        Config.from_env({"FETCH_ALLOW": text})
