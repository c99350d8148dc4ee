"""The server's side of the WebSocket protocol: the handshake, and frames to and from bytes. No IO.

Wire: https://www.rfc-editor.org/rfc/rfc6455
No extensions and no subprotocols. Strict about what clients send: they have to mask, and text has to be UTF-8.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
VERSION: Final = "13"

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
UNSUPPORTED_DATA: Final = 1003
_PROTOCOL_ERROR: Final = 1002
_NO_STATUS: Final = 1005  # never sent: a close frame without a status
_INVALID_TEXT: Final = 1007
_TOO_LARGE: Final = 1009

_CONTINUATION: Final = 0
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_MAX_CONTROL: Final = 125  # bytes of the payload of a control frame
_KEY_SIZE: Final = 16  # bytes
_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class WebSocketError(Exception):
    """The client has broken the protocol or a limit; the connection is closed with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Message(NamedTuple):
    """A message or a control frame of the client."""

    opcode: int
    data: bytes
    code: int = 0  # of a close frame


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """True if a request asks for a WebSocket."""
    return "websocket" in _list_tokens(headers, "Upgrade") and "upgrade" in _list_tokens(headers, "Connection")


def compute_accept(key: str) -> str | None:
    """Returns ``Sec-WebSocket-Accept`` for the client's ``Sec-WebSocket-Key``; None for an invalid one."""
    try:
        valid = len(b64decode(key, validate=True)) == _KEY_SIZE
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        return None
    return b64encode(hashlib.sha1(key.encode() + _ACCEPT_SUFFIX, usedforsecurity=False).digest()).decode()


def encode_frame(opcode: int, data: bytes) -> bytes:
    """Encodes a whole message, or a control frame, of the server."""
    size = len(data)
    if size <= _MAX_CONTROL:
        head = struct.pack("!BB", _FIN | opcode, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FIN | opcode, 126, size)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, 127, size)
    return head + data


def encode_close(code: int, reason: str = "") -> bytes:
    """Encodes a close frame. The reason is cut off at what such a frame may hold."""
    cut = reason.encode()[: _MAX_CONTROL - 2].decode(errors="ignore")
    return encode_frame(CLOSE, struct.pack("!H", code) + cut.encode())


class FrameParser:
    """Parses what a client sends, cut anywhere, into messages."""

    __slots__ = ("_buffer", "_max", "_message", "_opcode")

    def __init__(self, max_message: int) -> None:
        """``max_message``: bytes of a message, all its frames together."""
        self._buffer = bytearray()
        self._max = max_message
        self._message = bytearray()  # of a message whose last frame has not come
        self._opcode = 0  # its kind; 0: none has begun

    def feed(self, data: bytes) -> list[Message]:
        """Returns the messages and control frames that ``data`` completes. Raises ``WebSocketError``."""
        self._buffer += data
        out: list[Message] = []
        while (frame := self._cut_frame()) is not None:
            first, payload = frame
            if first & 0x08:
                out.append(_read_control(first & 0x0F, payload))
            elif (message := self._add(first, payload)) is not None:
                out.append(message)
        return out

    def _cut_frame(self) -> tuple[int, bytes] | None:
        """Removes the first frame of the buffer; returns its first byte and its payload, None if it is incomplete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        size, at = second & 0x7F, 2
        if first & _RESERVED or not second & _MASKED:
            raise WebSocketError(_PROTOCOL_ERROR, "a frame without mask, or with reserved bits")
        if size > _MAX_CONTROL:
            width, least = (2, 126) if size == 126 else (8, 1 << 16)
            if len(buffer) < at + width:
                return None
            size, at = int.from_bytes(buffer[at : at + width], "big"), at + width
            if size < least or size >> 63:
                raise WebSocketError(_PROTOCOL_ERROR, "a length that is not encoded in the shortest form")
        self._check_head(first, size)
        end = at + 4 + size
        if len(buffer) < end:
            return None
        payload = _unmask(bytes(buffer[at : at + 4]), bytes(buffer[at + 4 : end]))
        del buffer[:end]
        return first, payload

    def _check_head(self, first: int, size: int) -> None:
        opcode = first & 0x0F
        if opcode not in (_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise WebSocketError(_PROTOCOL_ERROR, f"a frame of the unknown kind {opcode}")
        if opcode & 0x08:
            if size > _MAX_CONTROL or not first & _FIN:
                raise WebSocketError(_PROTOCOL_ERROR, "a control frame in pieces, or of more than 125 bytes")
        elif (opcode == _CONTINUATION) != bool(self._opcode):
            raise WebSocketError(_PROTOCOL_ERROR, "a continuation without its message, or a message inside another")
        elif len(self._message) + size > self._max:
            raise WebSocketError(_TOO_LARGE, f"a message of more than {self._max} bytes (MAX_BODY_SIZE)")

    def _add(self, first: int, payload: bytes) -> Message | None:
        """Adds a frame to its message; returns the message with its last frame."""
        opcode = first & 0x0F or self._opcode
        if not first & _FIN:
            self._opcode = opcode
            self._message += payload
            return None
        data = bytes(self._message) + payload if self._message else payload
        self._opcode, self._message = 0, bytearray()
        if opcode == TEXT:
            _check_text(data)
        return Message(opcode, data)


def _read_control(opcode: int, payload: bytes) -> Message:
    if opcode != CLOSE:
        return Message(opcode, payload)
    if not payload:
        return Message(CLOSE, b"", _NO_STATUS)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise WebSocketError(_PROTOCOL_ERROR, "a close frame without a valid status")
    _check_text(payload[2:])
    return Message(CLOSE, payload[2:], code)


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise WebSocketError(_INVALID_TEXT, "a text that is not UTF-8") from None


def _unmask(mask: bytes, data: bytes) -> bytes:
    size = len(data)
    if not size or mask == b"\0\0\0\0":
        return data
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _list_tokens(headers: Mapping[str, str], name: str) -> list[str]:
    return [token.strip().lower() for token in headers.get(name, "").split(",")]
