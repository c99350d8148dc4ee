"""The parser of answers, fed in every way."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm.errors import LLMError, Truncated
from llm.transport.parser import ResponseParser

PIECES = [b"one ", "zwölf 🎈".encode(), b"\r\n\r\n", b"0\r\n\r\n", b"x" * 300]
CHUNKED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n" + (
    b"".join(b'%x ; name="v"\r\n%b\r\n' % (len(piece), piece) for piece in PIECES) + b"0\r\nX-Trailer: 1\r\n\r\n"
)
BODY = b"".join(PIECES)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CLOSING = b"HTTP/1.0 200 OK\r\n\r\n" + BODY


def parsed(data: bytes, cuts: list[int]) -> tuple[int, bytes, bool, bool]:
    """Status, payload, whole, reusable; the bytes come cut at these places."""
    parser = ResponseParser("GET")
    pieces: list[bytes] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        parser.feed(data[start:end], pieces)
    if not parser.complete:
        parser.eof()
    return parser.status, b"".join(pieces), parser.complete, parser.keep_alive and not parser.excess


def test_transport_t12_every_single_cut_gives_the_same_answer() -> None:
    for data, kept in ((CHUNKED, True), (LENGTH, True), (CLOSING, False)):
        for cut in range(len(data)):
            assert parsed(data, [cut]) == (200, BODY, True, kept)
        assert parsed(data, [*range(len(data))]) == (200, BODY, True, kept)


@given(st.sampled_from([CHUNKED, LENGTH, CLOSING]), st.lists(st.integers(0, 10_000), max_size=20))
def test_transport_t12_any_cuts_give_the_same_answer(data: bytes, cuts: list[int]) -> None:
    assert parsed(data, cuts)[:3] == (200, BODY, True)


def test_every_beginning_of_an_answer_is_truncated_and_never_whole() -> None:
    for data in (CHUNKED, LENGTH):
        for end in range(len(data)):
            try:
                parsed(data[:end], [])
            except Truncated:
                continue
            raise AssertionError(f"{data[:end]!r} passed for a whole answer")


@given(st.binary(max_size=200), st.integers(0, 400), st.lists(st.integers(0, 1000), max_size=5))
def test_garbage_raises_nothing_but_our_own_errors(garbage: bytes, at: int, cuts: list[int]) -> None:
    for data in (garbage, CHUNKED[:at] + garbage + CHUNKED[at:], LENGTH[:at] + garbage):
        with suppress(LLMError):
            parsed(data, cuts)


def test_what_follows_an_answer_is_noticed() -> None:
    assert parsed(LENGTH + b"x", [])[3] is False
    assert parsed(CHUNKED + b"HTTP/1.1 200 OK\r\n\r\n", [])[3] is False
