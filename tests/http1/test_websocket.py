"""Frames of the WebSocket protocol: any text survives any grouping, and what breaks the rules closes the connection."""

from __future__ import annotations

import struct
from base64 import b64encode
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CloseCode, Frame, Opcode
from websockets.utils import accept_key

from llm.http1.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameParser,
    Message,
    WebSocketError,
    compute_accept,
    encode_close,
    encode_frame,
    is_upgrade,
)

LIMIT = 1000


def masked(opcode: int, data: bytes, *, fin: bool = True, mask: bytes = b"\1\2\3\4", first: int = 0) -> bytes:
    """Returns a frame as a client sends it."""
    size = len(data)
    head = bytes([first or (opcode | (0x80 if fin else 0))])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[a:b] for a, b in pairwise(at)]


TEXTS = st.text(max_size=400).map(str.encode).filter(lambda data: len(data) <= LIMIT)


@given(st.data())
def test_messages_are_read_from_any_pieces_and_any_fragments(data: Any) -> None:
    messages = data.draw(st.lists(TEXTS, min_size=1, max_size=4))
    raw, expected = b"", []
    for text in messages:
        mask = data.draw(st.binary(min_size=4, max_size=4))
        fragments = cut(text, data.draw(st.lists(st.integers(0, 1000), max_size=3))) or [b""]
        for n, fragment in enumerate(fragments):
            if n and data.draw(st.booleans()):  # a control frame may stand between the frames of a message
                raw += masked(PING, b"p", mask=mask)
                expected.append(Message(PING, b"p"))
            raw += masked(0 if n else TEXT, fragment, fin=n == len(fragments) - 1, mask=mask)
        expected.append(Message(TEXT, text))
    parser = FrameParser(LIMIT)
    pieces = cut(raw, data.draw(st.lists(st.integers(0, 5000), max_size=8)))
    assert [message for piece in pieces for message in parser.feed(piece)] == expected


@given(st.sampled_from([TEXT, BINARY, PING, PONG]), st.binary(max_size=100))
def test_another_implementation_reads_the_frames_and_writes_what_is_read(opcode: int, data: bytes) -> None:
    """Judge: the ``websockets`` package. Its frames, masked, are read here; ours are read there."""
    data = data if opcode != TEXT else data.hex().encode()
    theirs = Frame(Opcode(opcode), data).serialize(mask=True)
    assert FrameParser(LIMIT).feed(theirs) == [Message(opcode, data)]
    assert Frame(Opcode(opcode), data).serialize(mask=False) == encode_frame(opcode, data)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_lengths_have_the_shortest_form(size: int) -> None:
    data = b"x" * size
    assert encode_frame(TEXT, data) == Frame(Opcode.TEXT, data).serialize(mask=False)
    assert FrameParser(1 << 20).feed(Frame(Opcode.TEXT, data).serialize(mask=True)) == [Message(TEXT, data)]


@pytest.mark.parametrize("code", [CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, 4000])
def test_close_frames(code: int) -> None:
    assert FrameParser(LIMIT).feed(masked(CLOSE, struct.pack("!H", code) + b"bye")) == [Message(CLOSE, b"bye", code)]
    assert FrameParser(LIMIT).feed(masked(CLOSE, b"")) == [Message(CLOSE, b"", 1005)]
    cut_off = encode_close(code, "ü" * 200)
    assert len(cut_off) <= 127 and cut_off[4:].decode() == "ü" * 61


BROKEN: list[tuple[bytes, int]] = [
    (encode_frame(TEXT, b"not masked"), 1002),
    (masked(TEXT, b"", first=0xC1), 1002),  # reserved bits: a compressed message without its extension
    (masked(3, b""), 1002),
    (masked(11, b""), 1002),
    (masked(0, b"nothing to continue"), 1002),
    (masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"), 1002),
    (masked(PING, b"p", fin=False), 1002),
    (masked(PING, b"p" * 126), 1002),
    (b"\x81\xfe\x00\x05", 1002),  # five bytes, their number in two bytes
    (b"\x81\xff" + struct.pack("!Q", 300), 1002),
    (b"\x81\xff" + struct.pack("!Q", 1 << 63), 1002),
    (masked(CLOSE, b"\x03"), 1002),
    (masked(CLOSE, struct.pack("!H", 1005)), 1002),
    (masked(CLOSE, struct.pack("!H", 999)), 1002),
    (masked(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    (masked(TEXT, b"\xff"), 1007),
    (masked(TEXT, b"\xe2\x82", fin=False) + masked(0, b""), 1007),
    (b"\x81\xff" + struct.pack("!Q", 1 << 40), 1009),  # before any of it has come
    (masked(TEXT, b"x" * LIMIT, fin=False) + masked(0, b"x"), 1009),
]


@pytest.mark.parametrize(("raw", "code"), BROKEN)
def test_what_breaks_the_protocol_has_its_close_code(raw: bytes, code: int) -> None:
    with pytest.raises(WebSocketError) as caught:
        FrameParser(LIMIT).feed(raw)
    assert caught.value.code == code and caught.value.reason
    parser = FrameParser(LIMIT)
    with pytest.raises(WebSocketError) as caught:
        for n in range(len(raw)):
            parser.feed(raw[n : n + 1])
    assert caught.value.code == code


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        messages = FrameParser(LIMIT).feed(raw)
    except WebSocketError as error:
        assert error.code in (1002, 1007, 1009)
    else:
        assert all(len(message.data) <= LIMIT for message in messages)


@given(st.binary(min_size=16, max_size=16))
def test_the_handshake_equals_that_of_another_implementation(raw: bytes) -> None:
    key = b64encode(raw).decode()
    assert compute_accept(key) == accept_key(key)


@pytest.mark.parametrize("key", ["", "x", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==\n"])
def test_a_key_that_is_not_16_bytes_is_none(key: str) -> None:
    assert compute_accept(key) is None


@pytest.mark.parametrize(
    ("upgrade", "connection", "expected"),
    [("websocket", "Upgrade", True), ("h2c, WebSocket", "keep-alive, upgrade", True), ("websocket", "close", False),
     ("h2c", "Upgrade", False), ("websockets", "Upgrade", False), ("", "", False)],
)  # fmt: skip
def test_what_asks_for_a_websocket(upgrade: str, connection: str, expected: bool) -> None:
    assert is_upgrade({"Upgrade": upgrade, "Connection": connection}) is expected
