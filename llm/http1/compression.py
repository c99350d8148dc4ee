"""Compressed bodies. We ask for none (``accept-encoding: identity``), some compress all the same.

Wire: https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
"""

from __future__ import annotations

import zlib
from typing import Final

from llm.errors import Malformed

STEP: Final = 256 * 1024  # bytes that one step may make: 64 KB on the wire can stand for 64 MB

_GZIP: Final = zlib.MAX_WBITS | 16


class Inflater:
    """Takes compressed bytes as they come and gives them back readable, at most ``STEP`` bytes at a time."""

    __slots__ = ("_full", "_packed", "_wbits", "_zlib")

    def __init__(self, wbits: int | None) -> None:
        self._wbits = wbits  # of zlib, which says how the data is wrapped; None: to be seen from its first two bytes
        self._zlib: zlib._Decompress | None = None  # None until there is something
        self._packed = b""  # not looked at yet
        self._full = False  # the last step ended at its bound: even without input there may be more

    @property
    def pending(self) -> bool:
        """``feed(b"")`` may give more."""
        return self._full or (bool(self._packed) and self._zlib is not None)

    def feed(self, data: bytes) -> bytes:
        """Empty only if more is needed. Raises ``Malformed``."""
        made = self._step(data)
        while not made and self.pending:  # a member of its own without content
            made = self._step(b"")
        return made

    def close(self) -> None:
        """The body has ended. Raises ``Malformed`` if the compressed data has not; an empty body is fine."""
        if self._packed or (self._zlib is not None and not self._zlib.eof):
            raise Malformed("The provider's compressed answer has no end.")

    def _step(self, data: bytes) -> bytes:
        packed = self._packed + data if self._packed else data
        if self._wbits is None and len(packed) >= 2:
            self._wbits = _deflate_wbits(packed)
        if self._wbits is None or not (packed or self._full):
            self._packed = packed
            return b""
        if self._zlib is None or (self._zlib.eof and packed):  # a gzip body may have members, one behind the other
            self._zlib = zlib.decompressobj(self._wbits)
        try:
            made = self._zlib.decompress(packed, STEP)
        except zlib.error:
            raise Malformed("The provider's compressed answer is broken.") from None
        self._full = len(made) == STEP
        self._packed = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        return made


def _deflate_wbits(start: bytes) -> int:
    """``deflate`` has to be zlib's format (RFC 1950, section 2.2); some send the bare data."""
    is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


def inflater(encoding: str) -> Inflater | None:
    """For a ``Content-Encoding``; None where there is nothing to do. Raises ``Malformed`` for one that is unknown."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Inflater(_GZIP)
        case "deflate":
            return Inflater(None)
        case _:
            raise Malformed("The provider compressed its answer in a way that was not asked for.")
