"""Keeps a large body in a file without a name, so that memory does not hold it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Final

_IN_MEMORY: Final = 256 * 1024  # bytes; a larger body moves to a file
_CHUNK: Final = 1024 * 1024  # bytes that are read at a time


class Spool:
    """Bytes that are written once and then read by their place.

    ``folder``: where the file is made. It has no name, so that nothing of it is left when this process ends.
    """

    __slots__ = ("_file", "_folder", "_pieces", "size")

    def __init__(self, folder: str) -> None:
        self._file: IO[bytes] | None = None
        self._folder = folder
        self._pieces = bytearray()
        self.size = 0  # bytes so far

    def write(self, piece: bytes | memoryview) -> None:
        """Appends a piece. Raises ``OSError`` if the disk is full."""
        self.size += len(piece)
        if self._file is None:
            self._pieces += piece
            if self.size <= _IN_MEMORY:
                return
            import tempfile  # only for large bodies

            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix="upload-")  # noqa: SIM115  it stays open
            piece, self._pieces = self._pieces, bytearray()  # type: ignore[assignment]
        self._file.write(piece)

    def view(self) -> memoryview:
        """Returns all bytes: those of a file are mapped and not read. Nothing can be written after that."""
        if self._file is None:
            return memoryview(self._pieces).toreadonly()
        import mmap

        self._file.flush()
        return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Deletes the file once nothing refers to its views any more."""
        if self._file is not None:
            self._file.close()


def find(data: memoryview, text: bytes, start: int) -> int:
    """Returns the place of ``text`` at or after ``start``; -1 if it is not there. ``data``: what ``view`` returned."""
    whole = data.obj
    assert hasattr(whole, "find")
    return int(whole.find(text, start))


def iterate_lines(data: memoryview) -> Iterator[bytes]:
    """Yields the lines, each with its end. Only a part of ``data`` is in memory at a time."""
    rest = b""
    for at in range(0, len(data), _CHUNK):
        lines = (rest + bytes(data[at : at + _CHUNK])).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest
