"""Bytes that are not HTTP, and JSON of a wrong shape."""

from __future__ import annotations

import json

HTML = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
NO_HTTP = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "HTTP/0.9": HTML,
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "binary": bytes(range(256)) * 16,
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "a NUL in the headers": b"HTTP/1.1 200 OK\r\nContent-\0Type: x\r\n\r\n",
}
_FIELDS = ("choices", "content", "candidates", "message", "output", "usage", "model", "id")
SHAPES = {
    "an object": b'{"hello": "world"}',
    "nothing": b"{}",
    "a list": b"[1, 2]",
    "text": b'"hello"',
    "a number": b"17",
    "null": b"null",
    "another type in each field": json.dumps(dict.fromkeys(_FIELDS, 17)).encode(),
    "half of it": b'{"choices": [{"message"',
    "invalid UTF-8": b'{"choices": "\xff\xfe"}',
    "a NUL": b'{"choices": "\0"}',
    "NaN": b'{"choices": NaN}',
    "very deep": b"[" * 200_000,
    "an empty body": b"",
}
