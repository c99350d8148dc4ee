"""The response parser, with valid and invalid bytes in any pieces; no sockets."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import Malformed
from llm.http1.response_parser import MAX_HEAD, ResponseParser
from tests.support.http_answers import BODY, PIECES
from tests.support.wire_server import CHUNKED, LAST_CHUNK, OK, chunk

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nX-A: b\r\n"
WITH_EXTENSIONS = b"".join(b'%x ; name="v"\r\n%b\r\n' % (len(piece), piece) for piece in PIECES)
IN_CHUNKS = INTERIM + HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + WITH_EXTENSIONS + b"0\r\nX-Trailer: 1\r\n\r\n"
BY_LENGTH = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
UNTIL_CLOSE = HEAD + b"\r\n" + BODY
SOUND = {"chunks": IN_CHUNKS, "length": BY_LENGTH, "close": UNTIL_CLOSE}


class Result:
    """The response parsed from ``data``, which is fed in pieces cut at the offsets ``cuts``."""

    def __init__(self, data: bytes, cuts: list[int], method: str = "GET") -> None:
        self.parser = ResponseParser(method)
        self.payload: list[bytes] = []
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in pairwise(edges):
            self.parser.feed(data[start:end], self.payload)
        self.complete = self.parser.complete
        self.whole = self.parser.feed_eof()

    @property
    def body(self) -> bytes:
        return b"".join(self.payload)

    @property
    def facts(self) -> tuple[object, ...]:
        parser = self.parser
        return parser.status, [*parser.headers.items()], self.body, self.complete, self.whole, parser.keep_alive


@pytest.mark.parametrize("name", SOUND)
def test_transport_t12_an_answer_cut_at_every_byte_is_the_same_answer(name: str) -> None:
    data = SOUND[name]
    uncut = Result(data, [])
    assert (uncut.parser.status, uncut.body, uncut.whole) == (200, BODY, True)
    assert uncut.parser.headers["x-a"] == "b"
    assert (uncut.complete, uncut.parser.keep_alive) == (name != "close", name != "close")
    for cut in range(len(data)):
        assert Result(data, [cut]).facts == uncut.facts
    assert Result(data, [*range(len(data))]).facts == uncut.facts


@given(st.sampled_from([*SOUND.values()]), st.lists(st.integers(0, 10_000), max_size=20))
def test_transport_t12_any_cuts_give_the_same_answer(data: bytes, cuts: list[int]) -> None:
    assert Result(data, cuts).facts == Result(data, []).facts


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.lists(st.integers(0, 10_000), max_size=20))
def test_transport_t12_any_payload_is_parsed(pieces: list[bytes], cuts: list[int]) -> None:
    result = Result(CHUNKED + b"".join(map(chunk, pieces)) + LAST_CHUNK, cuts)
    assert (result.body, result.complete, result.parser.has_excess) == (b"".join(pieces), True, False)


def test_a_chunk_is_returned_before_the_next_one_comes() -> None:
    parser, payload = ResponseParser("GET"), list[bytes]()
    for piece in (CHUNKED + chunk(b"one"), chunk(b"two")[:4], chunk(b"two")[4:], LAST_CHUNK):
        parser.feed(piece, payload)
    assert payload == [b"one", b"t", b"wo"]


@pytest.mark.parametrize("name", ["chunks", "length"])
def test_a_beginning_of_a_response_is_not_complete(name: str) -> None:
    for end in range(len(SOUND[name])):
        assert not Result(SOUND[name][:end], []).whole


@given(st.binary(max_size=200), st.integers(0, 600), st.lists(st.integers(0, 1000), max_size=5))
def test_garbage_is_parsed_or_malformed(garbage: bytes, at: int, cuts: list[int]) -> None:
    for data in (garbage, *(sound[:at] + garbage + sound[at:] for sound in SOUND.values())):
        with suppress(Malformed):
            Result(data, cuts)


@given(st.lists(st.sampled_from([*b"\r\n:; 0aAZ\x00\xff", *HEAD[:20]]), max_size=60), st.integers(0, 400))
def test_garbage_of_http_tokens_is_parsed_or_malformed(garbage: list[int], at: int) -> None:
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
    "chunk with an impossible size": CHUNKED + b"1" + b"0" * 15 + b"\r\nok",
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
    "status without a number": b"HTTP/1.1 OK\r\n\r\n",
    "impossible status": b"HTTP/1.1 099 OK\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "lines that end with LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "folded first header": b"HTTP/1.1 200 OK\r\n folded: c\r\n\r\n",
    "header without colon": HEAD + b"colon\r\n\r\n",
    "header with a blank before its colon": HEAD + b"X-B : c\r\n\r\n",
    "header with a lone LF": HEAD + b"X-B: c\nX-C: d\r\n\r\n",
    "header with a zero byte": HEAD + b"X-B: \x00\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_transport_t13_an_invalid_response_is_refused_in_any_pieces(data: bytes) -> None:
    with pytest.raises(Malformed):
        Result(data, [])
    with pytest.raises(Malformed):
        Result(data, [*range(len(data))][:200])


def test_valid_bytes_before_an_invalid_chunk_are_returned() -> None:
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
def test_allowed_deviations_are_accepted(data: bytes) -> None:
    result = Result(data, [])
    assert (result.body, result.complete, result.parser.keep_alive, result.parser.has_excess) == (
        b"ok",
        True,
        True,
        False,
    )


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
def test_responses_without_a_body_are_complete_after_their_head(method: str, data: bytes) -> None:
    result = Result(data, [], method)
    assert (result.body, result.complete, result.parser.keep_alive, result.parser.has_excess) == (
        b"",
        True,
        True,
        False,
    )


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
def test_keep_alive_is_parsed(data: bytes, keep: bool) -> None:
    assert Result(data, []).parser.keep_alive == keep


@pytest.mark.parametrize("data", [OK + b"x", IN_CHUNKS + OK, b"HTTP/1.1 204 OK\r\n\r\nbody"])
def test_transport_t14_bytes_after_a_response_are_detected(data: bytes) -> None:
    result = Result(data, [])
    assert (result.complete, result.parser.has_excess) == (True, True)


@pytest.mark.parametrize("fold", ["\r\n ", "\r\n\t", " \t\r\n \t "])
def test_folded_headers_are_joined(fold: str) -> None:
    parser = ResponseParser("GET")
    parser.feed(f"HTTP/1.1 200 OK\r\nX: a{fold}b{fold}c\r\nContent-Length:{fold}0\r\n\r\n".encode(), [])
    assert (parser.complete, parser.headers["X"]) == (True, "a b c")


@pytest.mark.parametrize("minor", range(1, 10))
def test_a_higher_minor_version_is_read_as_ours(minor: int) -> None:
    parser = ResponseParser("GET")
    parser.feed(f"HTTP/1.{minor} 200 OK\r\nContent-Length: 0\r\n\r\n".encode(), [])
    assert parser.complete and parser.keep_alive
