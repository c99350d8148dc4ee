"""The request parser, with valid and invalid bytes in any pieces; no sockets."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import InvalidRequest, TooLarge
from llm.http1.request_parser import RequestParser
from tests.support.smuggling import SMUGGLING
from tests.support.wire_server import LAST_CHUNK, chunk
from tests.support.work import limit_processor_time

MAX_HEAD = 8 * 1024
PIECES = [b"one ", "zwölf 🎈".encode(), b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 300]
BODY = b"".join(PIECES)
HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-A: b\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: Chunked\r\n\r\n"
BY_LENGTH = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
IN_CHUNKS = CHUNKED + b"".join(map(chunk, PIECES)) + LAST_CHUNK
WITHOUT = b"\r\n\r\n" + HEAD.replace(b"POST", b"GET") + b"\r\n"
EXTENDED = (
    CHUNKED
    + b"".join(b'%x;a="b;c" ; d\r\n%b\r\n' % (len(piece), piece) for piece in PIECES)
    + b"0;e=f\r\nX-T: u\r\n\r\n"
)
SOUND = {"length": BY_LENGTH, "chunks": IN_CHUNKS, "extensions and a trailer": EXTENDED, "no body": WITHOUT}


class Result:
    """The requests parsed from ``data``, which is fed in pieces cut at the offsets ``cuts``."""

    def __init__(self, data: bytes, cuts: list[int], max_head: int = MAX_HEAD) -> None:
        self.requests: list[tuple[Any, list[tuple[str, str]], bytes, bool]] = []
        self.parser, self.payload = RequestParser(max_head), list[bytes]()
        self._max_head = max_head
        for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
            self._feed(data[start:end])

    def _feed(self, data: bytes) -> None:
        self.parser.feed(data, self.payload)
        while (parser := self.parser).complete:
            self.requests.append(
                (parser.start_line, [*parser.headers.items()], b"".join(self.payload), parser.keep_alive)
            )
            self.parser, self.payload = RequestParser(self._max_head), []
            self.parser.feed(parser.unparsed, self.payload)

    @property
    def facts(self) -> tuple[object, ...]:
        return self.requests, self.parser.start_line, b"".join(self.payload)


@pytest.mark.parametrize("name", SOUND)
def test_a_request_cut_at_every_byte_is_the_same_request(name: str) -> None:
    data = SOUND[name]
    uncut = Result(data, [])
    [(line, headers, body, keep)] = uncut.requests
    assert line == ("GET" if name == "no body" else "POST", "/a?b=c", "HTTP/1.1")
    assert headers[:2] == [("host", "x"), ("x-a", "b")]
    assert (body, keep) == (b"" if name == "no body" else BODY, True)
    for cut in range(len(data)):
        assert Result(data, [cut]).facts == uncut.facts
    assert Result(data, [*range(len(data))]).facts == uncut.facts


@given(st.lists(st.sampled_from([*SOUND.values()]), max_size=4), st.lists(st.integers(0, 10_000), max_size=20))
def test_pipelined_requests_are_the_same_in_any_cuts(data: list[bytes], cuts: list[int]) -> None:
    result = Result(b"".join(data), cuts)
    assert result.facts == Result(b"".join(data), []).facts
    assert len(result.requests) == len(data)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_body_is_parsed(pieces: list[bytes], cuts: list[int]) -> None:
    [(_, _, body, _)] = Result(CHUNKED + b"".join(map(chunk, pieces)) + LAST_CHUNK, cuts).requests
    assert body == b"".join(pieces)


@pytest.mark.parametrize("name", SOUND)
def test_a_beginning_of_a_request_is_not_complete(name: str) -> None:
    for end in range(len(SOUND[name])):
        assert not Result(SOUND[name][:end], []).requests


@given(st.binary(max_size=200), st.integers(0, 600), st.lists(st.integers(0, 1000), max_size=5))
def test_garbage_is_parsed_or_refused(garbage: bytes, at: int, cuts: list[int]) -> None:
    for data in (garbage, *(sound[:at] + garbage + sound[at:] for sound in SOUND.values())):
        with suppress(InvalidRequest, TooLarge):
            Result(data, cuts)


@pytest.mark.parametrize("name", SMUGGLING)
def test_x2_an_ambiguous_request_is_refused_in_any_pieces(name: str) -> None:
    data = SMUGGLING[name].encode("latin-1")
    for cuts in ([], [*range(len(data))]):
        with pytest.raises(InvalidRequest):
            Result(data, cuts)


REFUSED = {
    "lines that end with LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "the first line ends with LF": b"GET / HTTP/1.1\nHost: x\r\n\r\n",
    "a header with a lone LF": HEAD + b"X-B: c\nX-C: d\r\n\r\n",
    "an empty line that is LF": b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line that is CR": b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + LAST_CHUNK,
    "a chunk that ends with LF": CHUNKED + b"2\r\nok\n0\r\n\r\n",
    "a size that ends with LF": CHUNKED + b"2\nok\r\n0\r\n\r\n",
    "endless chunk size": CHUNKED + b"0" * 10_000,
    "an empty trailer with a blank": CHUNKED + b"0\r\n \r\n\r\n",
    "endless chunk extensions": CHUNKED + b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 1000,
    "endless trailers": CHUNKED + b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 1000,
    "a trailer with NUL": CHUNKED + b"0\r\nX: \0\r\n\r\n",
    "an absolute target without a host": b"GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star that is no target": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty header name": HEAD + b": x\r\n\r\n",
    "an endless method": b"A" * 100,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an answer": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_an_invalid_request_is_refused_in_any_pieces(data: bytes) -> None:
    for cuts in ([], [*range(len(data))][:400]):
        with pytest.raises(InvalidRequest):
            Result(data, cuts)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip", 0),
    ],
)
def test_a_refusal_has_the_status_of_its_reason(line: bytes, status: int) -> None:
    parser = RequestParser(MAX_HEAD)
    with pytest.raises((InvalidRequest, TooLarge)):
        parser.feed(line + b"\r\n\r\n", [])
    assert parser.refusal_status == status


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/a?b", "/a?b", "x"),
        ("http://y/a?b", "/a?b", "y"),
        ("HTTPS://Y:80/a", "/a", "Y:80"),
        ("http://[::1]:80", "/", "[::1]:80"),
        ("http://y?b", "/?b", "y"),
        ("http://y/http://z/", "/http://z/", "y"),
    ],
)
def test_the_host_of_an_absolute_target_replaces_the_header(target: str, path: str, host: str) -> None:
    [(line, headers, _, _)] = Result(f"GET {target} HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n".encode(), []).requests
    assert (line.path, headers) == (path, [("host", host), ("a", "b")])


@pytest.mark.parametrize("minor", range(1, 10))
def test_a_higher_minor_version_is_read_as_ours(minor: int) -> None:
    [(line, _, _, keep)] = Result(f"GET / HTTP/1.{minor}\r\nHost: x\r\n\r\n".encode(), []).requests
    assert (line.version, keep) == ("HTTP/1.1", True)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEAD]
)
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_the_size_of_headers_is_limited_also_if_they_are_incomplete(data: bytes, end: bytes) -> None:
    for cuts in ([], [*range(0, len(data), 100)]):
        with pytest.raises(TooLarge):
            Result(data + end, cuts)
    edge = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
    assert len(Result(edge + b"y" * (MAX_HEAD - len(edge)) + b"\r\n\r\n", []).requests) == 1
    with pytest.raises(TooLarge):
        Result(edge + b"y" * (MAX_HEAD - len(edge) + 1) + b"\r\n\r\n", [])


@pytest.mark.parametrize(
    ("headers", "keep"),
    [
        ("HTTP/1.1\r\nHost: x", True),
        ("HTTP/1.1\r\nHost: x\r\nConnection: close", False),
        ("HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, Close", False),
        ("HTTP/1.0\r\nHost: x", False),
        ("HTTP/1.0\r\nHost: x\r\nConnection: Keep-Alive", True),
    ],
)
def test_keep_alive_is_parsed(headers: str, keep: bool) -> None:
    [(_, _, _, kept)] = Result(f"GET / {headers}\r\n\r\n".encode(), []).requests
    assert kept == keep


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"y", b"\r\n"])
def test_o3_a_head_in_tiny_pieces_is_searched_once(piece: bytes) -> None:
    parser, size = RequestParser(1 << 20), 0
    parser.feed(b"GET / HTTP/1.1\r\nX: " if piece != b"\r\n" else b"", [])
    with limit_processor_time():
        while size < 100_000:
            parser.feed(piece, [])
            size += len(piece)
