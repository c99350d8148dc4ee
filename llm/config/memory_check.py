"""Checks at start that the limits of bodies fit each other and the memory that the process may use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from llm.config.settings import Config

_MB: Final = 1024 * 1024
_BASE: Final = 80 * _MB  # of a process with a few hundred streams
_COPIES: Final = 3  # of one body while it is decoded, which is done for one large body at a time
_LIMIT_FILES: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NO_LIMIT: Final = 1 << 60  # bytes; version 1 of control groups writes such a number


def read_memory_limit() -> int | None:
    """Returns the bytes that the container, or the control group, of this process may use; None: no limit."""
    for name in _LIMIT_FILES:
        with suppress(OSError, ValueError):
            limit = int(Path(name).read_text())
            return limit if limit < _NO_LIMIT else None
    return None


def check_memory(config: Config, limit: int | None) -> list[str]:
    """Returns warnings about limits that do not fit. ``limit``: bytes, or None."""
    kept, body, processes = config.max_kept_bodies, config.max_body_size, config.processes or 1
    warnings = []
    if kept < body:
        warnings.append(
            f"MAX_KEPT_BODIES ({kept // _MB} MB) is below MAX_BODY_SIZE ({body // _MB} MB): callers without a client id"
            " cannot send a body of that size"
        )
    fixed = processes * (_BASE + _COPIES * body)
    if limit is not None and fixed + processes * kept > limit:
        room = max((limit - fixed) // processes, 0) // _MB
        needed = (fixed + processes * kept) // _MB
        warnings.append(
            f"large requests may take {needed} MB, and {limit // _MB} MB are allowed here:"
            f" set MAX_KEPT_BODIES to {room}MB or allow more memory"
        )
    return warnings
