"""Decompression of response bodies, because some providers ignore ``accept-encoding: identity``.

Wire: https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
"""

from __future__ import annotations

import zlib
from typing import Final

from llm.errors import Malformed

MAX_STEP: Final = 256 * 1024  # bytes that one ``feed`` returns at most: 64 KB on the wire can contain 64 MB

_GZIP: Final = zlib.MAX_WBITS | 16


class Inflater:
    """Decompresses a body in pieces; returns at most ``MAX_STEP`` bytes at a time."""

    __slots__ = ("_compressed", "_full", "_wbits", "_zlib")

    def __init__(self, wbits: int | None) -> None:
        self._wbits = wbits  # zlib's number for the format; None: detected from the first two bytes
        self._zlib: zlib._Decompress | None = None  # None before the first bytes
        self._compressed = b""  # not decompressed yet
        self._full = False  # the last step returned ``MAX_STEP`` bytes, so zlib may have more output without input

    @property
    def pending(self) -> bool:
        """True if ``feed(b"")`` may return more bytes."""
        return self._full or (bool(self._compressed) and self._zlib is not None)

    def feed(self, data: bytes) -> bytes:
        """Returns decompressed bytes; ``b""`` only if more input is needed. Raises ``Malformed`` for invalid data."""
        output = self._step(data)
        while not output and self.pending:  # an empty gzip member
            output = self._step(b"")
        return output

    def close(self) -> None:
        """Marks the end of the body. Raises ``Malformed`` if the data is incomplete; an empty body is valid."""
        if self._compressed or (self._zlib is not None and not self._zlib.eof):
            raise Malformed("The provider's compressed answer is incomplete.")

    def _step(self, data: bytes) -> bytes:
        compressed = self._compressed + data if self._compressed else data
        if self._wbits is None and len(compressed) >= 2:
            self._wbits = _deflate_wbits(compressed)
        if self._wbits is None or not (compressed or self._full):
            self._compressed = compressed
            return b""
        if self._zlib is None or (self._zlib.eof and compressed):  # a gzip body may have several members
            self._zlib = zlib.decompressobj(self._wbits)
        try:
            output = self._zlib.decompress(compressed, MAX_STEP)
        except zlib.error:
            raise Malformed("The provider's compressed answer is invalid.") from None
        self._full = len(output) == MAX_STEP
        self._compressed = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        return output


def _deflate_wbits(start: bytes) -> int:
    """Detects the format of ``deflate``: zlib (RFC 1950, section 2.2), or the raw data that some servers send."""
    is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


def create_inflater(encoding: str) -> Inflater | None:
    """Creates the decompressor for a ``Content-Encoding``; None if the body is not compressed.

    Raises ``Malformed`` for an encoding that is not supported.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Inflater(_GZIP)
        case "deflate":
            return Inflater(None)
        case _:
            raise Malformed("The provider compressed its answer with an unsupported Content-Encoding.")
