"""Decompression of bodies: of requests, and of responses, since some providers ignore ``accept-encoding: identity``.

Wire: https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1, and RFC 9659 for zstd
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any, Final, Protocol

from llm.errors import Malformed
from llm.wire.json_codec import import_optional

MAX_STEP: Final = 256 * 1024  # bytes that one ``feed`` returns at most: 64 KB on the wire can contain 64 MB

_GZIP: Final = zlib.MAX_WBITS | 16
_MAX_MEMBERS: Final = 1000  # of one body: 20 bytes make a gzip member, which takes longer to start than to read
_ZSTD_WINDOW: Final = 23  # log2 of the bytes that the decompressor may look back on (RFC 9659)


class Decompressor(Protocol):
    """Decompresses a body in pieces."""

    @property
    def pending(self) -> bool:
        """True if ``feed(b"")`` may return more bytes."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Returns at most ``MAX_STEP`` bytes; ``b""`` only if more input is needed. Raises ``Malformed``."""
        ...

    def close(self) -> None:
        """Marks the end of the body. Raises ``Malformed`` if the data is incomplete; an empty body is valid."""
        ...


class Inflater:
    """Decompresses a body in pieces; returns at most ``MAX_STEP`` bytes at a time."""

    __slots__ = ("_compressed", "_full", "_members", "_wbits", "_zlib")

    def __init__(self, wbits: int | None) -> None:
        self._wbits = wbits  # zlib's number for the format; None: detected from the first two bytes
        self._zlib: zlib._Decompress | None = None  # None before the first bytes
        self._compressed = b""  # not decompressed yet
        self._full = False  # the last step returned ``MAX_STEP`` bytes, so zlib may have more output without input
        self._members = 0

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
            self._members = _count_member(self._members)
            self._zlib = zlib.decompressobj(self._wbits)
        try:
            output = self._zlib.decompress(compressed, MAX_STEP)
        except zlib.error:
            raise Malformed("The provider's compressed answer is invalid.") from None
        self._full = len(output) == MAX_STEP
        self._compressed = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        return output


class ZstdInflater:
    """Decompresses zstd, by the standard library from Python 3.14 on, else by the package ``backports.zstd``."""

    __slots__ = ("_compressed", "_frame", "_members", "_zstd")

    def __init__(self, zstd: Any) -> None:
        self._zstd = zstd
        self._frame: Any = None  # the decompressor of the current frame; None before the first bytes
        self._compressed = b""  # of the next frame
        self._members = 0

    @property
    def pending(self) -> bool:
        """True if ``feed(b"")`` may return more bytes."""
        return bool(self._compressed) or (
            self._frame is not None and not self._frame.eof and not self._frame.needs_input
        )

    def feed(self, data: bytes) -> bytes:
        """Returns decompressed bytes; ``b""`` only if more input is needed. Raises ``Malformed`` for invalid data."""
        output = self._step(data)
        while not output and self.pending:  # an empty frame
            output = self._step(b"")
        return output

    def close(self) -> None:
        """Marks the end of the body. Raises ``Malformed`` if the data is incomplete; an empty body is valid."""
        if self._compressed or (self._frame is not None and not self._frame.eof):
            raise Malformed("The provider's compressed answer is incomplete.")

    def _step(self, data: bytes) -> bytes:
        compressed, self._compressed = self._compressed + data, b""
        if self._frame is None or self._frame.eof:  # a body may have several frames
            if not compressed:
                return b""
            self._members = _count_member(self._members)
            options = {self._zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
            self._frame = self._zstd.ZstdDecompressor(options=options)
        try:
            output: bytes = self._frame.decompress(compressed, MAX_STEP)
        except self._zstd.ZstdError:
            raise Malformed("The provider's compressed answer is invalid.") from None
        if self._frame.eof:
            self._compressed = self._frame.unused_data
        return output


def _count_member(members: int) -> int:
    if members == _MAX_MEMBERS:
        raise Malformed("The provider's compressed answer has too many members.")
    return members + 1


@cache
def load_zstd() -> Any:
    """Returns the module that decompresses zstd; None if there is none. Imported when it is first needed."""
    return import_optional("compression.zstd") or import_optional("backports.zstd")


def list_encodings() -> tuple[str, ...]:
    """Returns the values of ``Content-Encoding`` that can be decompressed here."""
    return ("gzip", "deflate", *(("zstd",) if load_zstd() else ()))


def _deflate_wbits(start: bytes) -> int:
    """Detects the format of ``deflate``: zlib (RFC 1950, section 2.2), or the raw data that some servers send."""
    is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


def create_inflater(encoding: str) -> Decompressor | None:
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
        case "zstd" if (zstd := load_zstd()) is not None:
            return ZstdInflater(zstd)
        case _:
            raise Malformed("The provider compressed its answer with an unsupported Content-Encoding.")
