"""The parser of answers and the decoder of compressed bodies, fed in every way; no sockets."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPInputError

from llm.errors import InvalidRequest, Malformed
from llm.http1.compression import STEP, Inflater, inflater
from llm.http1.message import Headers
from llm.http1.request_parser import RequestParser
from llm.http1.response_parser import MAX_HEAD, ResponseParser
from tests.wire_server import CHUNKED, LAST_CHUNK, OK, chunk

PIECES = [b"one ", "zwölf 🎈".encode(), b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 300]
BODY = b"".join(PIECES)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nX-A: b\r\n"
WITH_EXTENSIONS = b"".join(b'%x ; name="v"\r\n%b\r\n' % (len(piece), piece) for piece in PIECES)
IN_CHUNKS = INTERIM + HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + WITH_EXTENSIONS + b"0\r\nX-Trailer: 1\r\n\r\n"
BY_LENGTH = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
UNTIL_CLOSE = HEAD + b"\r\n" + BODY
SOUND = {"chunks": IN_CHUNKS, "length": BY_LENGTH, "close": UNTIL_CLOSE}


class Result:
    """What became of some bytes, cut at some places."""

    def __init__(self, data: bytes, cuts: list[int], method: str = "GET") -> None:
        self.parser = ResponseParser(method)
        self.payload: list[bytes] = []
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in pairwise(edges):
            self.parser.feed(data[start:end], self.payload)
        self.complete = self.parser.complete
        self.whole = self.parser.eof()

    @property
    def body(self) -> bytes:
        return b"".join(self.payload)

    @property
    def facts(self) -> tuple[object, ...]:
        parser = self.parser
        return parser.status, [*parser.headers.items()], self.body, self.complete, self.whole, parser.keep


@pytest.mark.parametrize("name", SOUND)
def test_transport_t12_an_answer_cut_at_every_byte_is_the_same_answer(name: str) -> None:
    data = SOUND[name]
    uncut = Result(data, [])
    assert (uncut.parser.status, uncut.body, uncut.whole) == (200, BODY, True)
    assert uncut.parser.headers["x-a"] == "b"
    assert (uncut.complete, uncut.parser.keep) == (name != "close", name != "close")
    for cut in range(len(data)):
        assert Result(data, [cut]).facts == uncut.facts
    assert Result(data, [*range(len(data))]).facts == uncut.facts


@given(st.sampled_from([*SOUND.values()]), st.lists(st.integers(0, 10_000), max_size=20))
def test_transport_t12_any_cuts_give_the_same_answer(data: bytes, cuts: list[int]) -> None:
    assert Result(data, cuts).facts == Result(data, []).facts


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.lists(st.integers(0, 10_000), max_size=20))
def test_transport_t12_any_payload_comes_through(pieces: list[bytes], cuts: list[int]) -> None:
    result = Result(CHUNKED + b"".join(map(chunk, pieces)) + LAST_CHUNK, cuts)
    assert (result.body, result.complete, result.parser.excess) == (b"".join(pieces), True, False)


def test_a_chunk_that_is_there_is_handed_on_before_the_next_one() -> None:
    parser, payload = ResponseParser("GET"), list[bytes]()
    for piece in (CHUNKED + chunk(b"one"), chunk(b"two")[:4], chunk(b"two")[4:], LAST_CHUNK):
        parser.feed(piece, payload)
    assert payload == [b"one", b"t", b"wo"]


@pytest.mark.parametrize("name", ["chunks", "length"])
def test_no_beginning_of_an_answer_passes_for_a_whole_one(name: str) -> None:
    for end in range(len(SOUND[name])):
        assert not Result(SOUND[name][:end], []).whole


@given(st.binary(max_size=200), st.integers(0, 600), st.lists(st.integers(0, 1000), max_size=5))
def test_garbage_is_an_answer_or_malformed_and_nothing_else(garbage: bytes, at: int, cuts: list[int]) -> None:
    for data in (garbage, *(sound[:at] + garbage + sound[at:] for sound in SOUND.values())):
        with suppress(Malformed):
            Result(data, cuts)


@given(st.lists(st.sampled_from([*b"\r\n:; 0aAZ\x00\xff", *HEAD[:20]]), max_size=60), st.integers(0, 400))
def test_likely_garbage_is_an_answer_or_malformed_and_nothing_else(garbage: list[int], at: int) -> None:
    for sound in SOUND.values():
        with suppress(Malformed):
            Result(sound[:at] + bytes(garbage) + sound[at + 10 :], [])


LENGTH_2 = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
REFUSED = {
    "length and chunks": LENGTH_2 + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": LENGTH_2 + b"Content-Length: 3\r\n\r\nok",
    "length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "length without digits": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
    "endless length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nok",
    "length of an answer without body": b"HTTP/1.1 204 OK\r\nContent-Length: x\r\n\r\n",
    "two encodings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk without size": CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "chunk with a prefix": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "chunk below zero": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "chunk with an underscore": CHUNKED + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "chunk too large to be": CHUNKED + b"1" + b"0" * 15 + b"\r\nok",
    "chunk longer than its size": CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"2\r\nok0\r\n\r\n",
    "chunk that ends with LF": CHUNKED + b"2\r\nok\n0\r\n\r\n",
    "size that ends with LF": CHUNKED + b"2\nok\r\n0\r\n\r\n",
    "extension with a lone CR": CHUNKED + b"2;a\rb\r\nok\r\n0\r\n\r\n",
    "endless extension": CHUNKED + b"2;" + b"a" * 10_000,
    "endless trailer": CHUNKED + b"0\r\n" + b"a" * 10_000,
    "a lone LF in a trailer": CHUNKED + b"0\r\nX-A: b\nX-B: c\r\n\r\n",
    "endless trailers": CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 20_000,
    "endless head": HEAD + b"X-A: " + b"a" * MAX_HEAD,
    "head that is too large": HEAD + b"X-A: " + b"a" * MAX_HEAD + b"\r\n\r\n",
    "eleven interim answers": INTERIM * 11 + OK,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "status without a number": b"HTTP/1.1 OK\r\n\r\n",
    "status that cannot be": b"HTTP/1.1 099 OK\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "lines that end with LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "folded header": HEAD + b" folded: c\r\n\r\n",
    "header without colon": HEAD + b"colon\r\n\r\n",
    "header with a blank before its colon": HEAD + b"X-B : c\r\n\r\n",
    "header with a lone LF": HEAD + b"X-B: c\nX-C: d\r\n\r\n",
    "header with a zero byte": HEAD + b"X-B: \x00\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_transport_t13_what_cannot_be_trusted_is_refused_in_any_pieces(data: bytes) -> None:
    with pytest.raises(Malformed):
        Result(data, [])
    with pytest.raises(Malformed):
        Result(data, [*range(len(data))][:200])


def test_what_was_sound_before_a_fault_is_handed_on() -> None:
    parser, payload = ResponseParser("GET"), list[bytes]()
    with pytest.raises(Malformed):
        parser.feed(CHUNKED + chunk(b"sound") + b"fault\r\n", payload)
    assert payload == [b"sound"]


LENIENT = {
    "ten interim answers": INTERIM * 10 + OK,
    "no reason": OK.replace(b" OK", b""),
    "two equal lengths": LENGTH_2 + b"Content-Length: 2\r\n\r\nok",
    "padded sizes": CHUNKED + b"0002  \r\nok\r\n000\r\n\r\n",
    "trailers": CHUNKED + b"2\r\nok\r\n0\r\nX-A: b\r\nX-B: c\r\n\r\n",
}


@pytest.mark.parametrize("data", LENIENT.values(), ids=LENIENT)
def test_what_is_allowed_is_accepted(data: bytes) -> None:
    result = Result(data, [])
    assert (result.body, result.complete, result.parser.keep, result.parser.excess) == (b"ok", True, True, False)


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        ("HEAD", CHUNKED),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_answers_without_a_body_are_over_with_their_head(method: str, data: bytes) -> None:
    result = Result(data, [], method)
    assert (result.body, result.complete, result.parser.keep, result.parser.excess) == (b"", True, True, False)


@pytest.mark.parametrize(
    ("data", "keep"),
    [
        (OK, True),
        (OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), False),
        (OK.replace(b"\r\n", b"\r\nConnection: keep-alive, Close\r\n", 1), False),
        (OK.replace(b"1.1", b"1.0"), False),
        (OK.replace(b"1.1 200 OK\r\n", b"1.0 200 OK\r\nConnection: Keep-Alive\r\n"), True),
    ],
)
def test_the_answer_says_whether_its_connection_may_be_kept(data: bytes, keep: bool) -> None:
    assert Result(data, []).parser.keep == keep


@pytest.mark.parametrize("data", [OK + b"x", IN_CHUNKS + OK, b"HTTP/1.1 204 OK\r\n\r\nbody"])
def test_transport_t14_what_follows_an_answer_is_noticed(data: bytes) -> None:
    result = Result(data, [])
    assert (result.complete, result.parser.excess) == (True, True)


# Compressed bodies.


def unpacked(decoder: Inflater, packed: bytes, size: int) -> bytes:
    made = []
    for at in range(0, len(packed), size):
        made.append(decoder.feed(packed[at : at + size]))
        while decoder.pending:
            made.append(decoder.feed(b""))
    decoder.close()
    return b"".join(made)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZip ", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),  # two members
        ("gzip", lambda data: gzip.compress(b"") * 2 + gzip.compress(data) + gzip.compress(b"")),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),  # wrong, and common
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_compressed_bodies_in_any_pieces(encoding: str, pack: Callable[[bytes], bytes], size: int) -> None:
    decoder = inflater(encoding)
    assert decoder is not None
    assert unpacked(decoder, pack(BODY * 20), size) == BODY * 20


@pytest.mark.parametrize("size", [*range(STEP - 3, STEP + 4), 3 * STEP])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_body_that_ends_at_the_bound_of_a_step_is_whole(pack: Callable[[bytes], bytes], size: int) -> None:
    decoder = inflater("gzip" if pack is gzip.compress else "deflate")
    assert decoder is not None
    assert unpacked(decoder, pack(b"a" * size), 1 << 20) == b"a" * size


def test_a_small_body_cannot_become_a_large_one_at_once() -> None:
    decoder = inflater("gzip")
    assert decoder is not None
    packed = gzip.compress(b"\0" * 50_000_000)
    assert len(packed) < 60_000
    assert len(decoder.feed(packed)) == STEP
    assert decoder.pending


def test_a_step_gives_nothing_only_if_it_needs_more() -> None:
    decoder = inflater("gzip")
    assert decoder is not None
    assert decoder.feed(gzip.compress(b"") * 3 + gzip.compress(b"one")) == b"one"
    assert not decoder.pending


def test_bodies_that_are_not_compressed_are_left_alone() -> None:
    assert inflater("") is inflater("identity") is None
    with pytest.raises(Malformed):
        inflater("br")


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(1, 50), st.sampled_from(["gzip", "deflate"]))
def test_broken_compression_is_malformed_and_nothing_else(garbage: bytes, at: int, size: int, encoding: str) -> None:
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)
    decoder = inflater(encoding)
    assert decoder is not None
    with suppress(Malformed):
        unpacked(decoder, packed[:at] + garbage + packed[at + len(garbage) :], size)


def test_a_compressed_body_without_its_end_is_malformed() -> None:
    decoder = inflater("gzip")
    assert decoder is not None
    with pytest.raises(Malformed):
        unpacked(decoder, gzip.compress(BODY)[:-4], 1 << 20)


def of_request(told: str) -> dict[str, str]:
    parser, lines = RequestParser(10_000), f"\r\n{told}" if told else ""
    parser.feed(f"GET / HTTP/1.1\r\nHost: x{lines}\r\n\r\n".encode("latin-1"), [])
    return dict(parser.headers)


@given(
    st.lists(
        st.lists(st.sampled_from(("X-a", "x-A", "b", ":", " ", "\t", "\n", "\x00", "é", "ü ", "1,2")), max_size=6).map(
            "".join
        )
    )
)
def test_headers_are_read_and_refused_as_tornado_does(lines: list[str]) -> None:
    told = "\r\n".join(filter(None, lines))
    expected = HTTPHeaders()
    try:
        for line in filter(None, lines):
            name, colon, value = line.partition(":")
            expected.add(name if colon else "", value.strip(" \t"))
    except HTTPInputError:
        with pytest.raises(ValueError, match="no headers"):
            Headers(told)
        with pytest.raises(InvalidRequest):
            of_request(told)
        return
    headers = Headers(told)
    assert {**headers, "host": "x"} == of_request(told)
    assert dict(headers.items()) == {name.lower(): value for name, value in expected.items()}
    assert all(headers[name.upper()] == headers.get(name) == value for name, value in expected.items())
    assert headers.get("x-none") is None and headers.get("x-none", "") == ""
