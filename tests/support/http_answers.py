"""HTTP responses as bytes."""

from __future__ import annotations

PIECES = [b"one ", "zwölf 🎈".encode(), b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 300]
BODY = b"".join(PIECES)
