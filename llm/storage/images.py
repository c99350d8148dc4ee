"""Made images, kept as files under names that nobody can guess, until they are too old or too many.

The folder may be shared by several processes. Only files with names of ours are ever read or deleted there, and no
symbolic link is followed.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from llm.errors import Malformed

_TYPES: Final = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
_NAME: Final = re.compile(rf"[0-9a-f]{{40}}\.({'|'.join(_TYPES)})", re.ASCII)
_PART: Final = re.compile(r"[0-9a-f]{40}\.part", re.ASCII)  # while it is written
_PART_AGE: Final = 3600.0  # seconds after which a half-written file is nobody's any more


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is there, open for reading: whoever asked for it closes ``file``."""

    file: BinaryIO
    content_type: str
    size: int  # bytes


class ImageStore:
    """The images in ``directory``, which is made when the first one is saved.

    ``max_age`` in seconds, ``max_bytes`` for all together. Methods block for as long as the disk takes, and may be
    called from any thread.
    """

    def __init__(self, directory: Path, max_age: float, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._clock = clock

    def save(self, data: bytes) -> str:
        """Keeps an image and returns its name, then makes room. Its type is what its bytes say, whoever says otherwise.

        Raises ``Malformed`` for what is no png, jpeg, webp or gif or larger than all may be, ``OSError`` as the disk.
        """
        ending = _ending_of(data)
        if ending is None:
            raise Malformed("The image that was made is not a png, jpeg, webp or gif.")
        if len(data) > self._max_bytes:
            raise Malformed(f"The image that was made has {len(data)} bytes; {self._max_bytes} are kept at most.")
        stem = secrets.token_hex(20)
        name = f"{stem}.{ending}"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened() as folder:
            _write(folder, f"{stem}.part", data)
            os.rename(f"{stem}.part", name, src_dir_fd=folder, dst_dir_fd=folder)
            self._prune(folder, keep=name)
        return name

    def open(self, name: str) -> StoredImage | None:
        """The image of that name; None if there is none, or none any more."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        try:
            with self._opened() as folder:
                # Without NONBLOCK a pipe in the place of a file would be waited for.
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or self._clock() - facts.st_mtime > self._max_age:
            os.close(handle)
            return None
        return StoredImage(os.fdopen(handle, "rb"), _TYPES[match[1]], facts.st_size)

    def prune(self) -> None:
        """Deletes what is too old, then the oldest until the rest is small enough."""
        with suppress(FileNotFoundError), self._opened() as folder:
            self._prune(folder)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder itself, so that nothing on the way to it can change between two steps."""
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _prune(self, folder: int, keep: str = "") -> None:
        now = self._clock()
        kept: list[tuple[bool, float, int, str]] = []
        for name, facts in _files(folder):
            age = now - facts.st_mtime
            if age > (_PART_AGE if _PART.fullmatch(name) else self._max_age):
                _delete(folder, name)
            elif _NAME.fullmatch(name):
                kept.append((name == keep, facts.st_mtime, facts.st_size, name))
        total = sum(size for _, _, size, _ in kept)
        for _, _, size, name in sorted(kept):
            if total <= self._max_bytes:
                return
            _delete(folder, name)
            total -= size


def _ending_of(data: bytes) -> str | None:
    """By the first bytes, which a browser goes by too."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return None


def _write(folder: int, name: str, data: bytes) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError:
        _delete(folder, name)
        raise


def _files(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """The files of ours, links and other processes' deletions left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) or _PART.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(facts.st_mode):
                        yield entry.name, facts


def _delete(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
