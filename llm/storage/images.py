"""Generated images as files with unguessable names, deleted by age and total size.

Several processes may use the folder. Only files whose names have the form of this store are read or deleted, and no
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
_PART: Final = re.compile(r"[0-9a-f]{40}\.part", re.ASCII)  # a file that is being written
_PART_AGE: Final = 3600.0  # seconds after which a file that is being written counts as abandoned


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is open for reading. The caller closes ``file``."""

    file: BinaryIO
    content_type: str
    size: int  # bytes


class ImageStore:
    """Stores images in ``directory``, which is created with the first one.

    ``max_age`` in seconds, ``max_bytes`` for all images together. Methods block on the disk and are thread-safe.
    """

    def __init__(self, directory: Path, max_age: float, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._clock = clock

    def save(self, data: bytes) -> str:
        """Saves an image, deletes others beyond the limits, and returns its name.

        The extension comes from the first bytes. Raises ``Malformed`` for anything but png, jpeg, webp or gif and for
        an image larger than ``max_bytes``, ``OSError`` if it cannot be written.
        """
        extension = _detect_extension(data)
        if extension is None:
            raise Malformed("The generated image is not a png, jpeg, webp or gif.")
        if len(data) > self._max_bytes:
            raise Malformed(f"The generated image has {len(data)} bytes; the limit is {self._max_bytes}.")
        stem = secrets.token_hex(20)
        name = f"{stem}.{extension}"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._open_folder() as folder:
            _write(folder, f"{stem}.part", data)
            os.rename(f"{stem}.part", name, src_dir_fd=folder, dst_dir_fd=folder)
            self._prune(folder, newest=name)
        return name

    def open(self, name: str) -> StoredImage | None:
        """Opens the image; None if it does not exist or is too old."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        try:
            with self._open_folder() as folder:
                # Without O_NONBLOCK, opening a pipe would wait for its writer.
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or self._clock() - status.st_mtime > self._max_age:
            os.close(handle)
            return None
        return StoredImage(os.fdopen(handle, "rb"), _TYPES[match[1]], status.st_size)

    def prune(self) -> None:
        """Deletes images beyond ``max_age``, then the oldest ones until the rest fits into ``max_bytes``."""
        with suppress(FileNotFoundError), self._open_folder() as folder:
            self._prune(folder)

    @contextmanager
    def _open_folder(self) -> Iterator[int]:
        """Opens the folder, so that a changed path cannot lead two steps to different folders."""
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _prune(self, folder: int, newest: str = "") -> None:
        now = self._clock()
        images: list[tuple[bool, float, int, str]] = []  # in this order they are deleted
        for name, status in _files(folder):
            age = now - status.st_mtime
            if age > (_PART_AGE if _PART.fullmatch(name) else self._max_age):
                _delete(folder, name)
            elif _NAME.fullmatch(name):
                images.append((name == newest, status.st_mtime, status.st_size, name))
        total = sum(size for _, _, size, _ in images)
        for _, _, size, name in sorted(images):
            if total <= self._max_bytes:
                return
            _delete(folder, name)
            total -= size


def _detect_extension(data: bytes) -> str | None:
    """Detects the type by the first bytes, like browsers do."""
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
    """Yields the regular files of this store; skips links and files deleted by other processes."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) or _PART.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield entry.name, status


def _delete(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
