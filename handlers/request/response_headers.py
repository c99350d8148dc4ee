"""Headers of responses, and errors that were answered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from tornado.httputil import format_timestamp

_NOT_IN_NAMES: Final = re.compile(r"[^ -+\--~]")  # a list in a header: printable ASCII, without the comma
_MOST_NAMES: Final = 100  # in a header, each cut off at so many characters


def join_names(names: Iterable[str]) -> str:
    """Returns the names of dropped fields for a header; clients choose such names, so that they may hold anything."""
    safe = [_NOT_IN_NAMES.sub("?", name[:_MOST_NAMES]) for name in names if name]
    return ", ".join(safe if len(safe) <= _MOST_NAMES else (*safe[:_MOST_NAMES], "..."))


class ResponseHeaders(dict[str, str]):
    """Headers of a response: a plain dictionary with the methods of ``HTTPHeaders`` that Tornado uses."""

    __slots__ = ()
    get_all = dict.items


def forget_frames(error: BaseException | None) -> None:
    """Drops the stack frames of an error that was answered: the request is in them, which may be large."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


@lru_cache(maxsize=1)
def format_date(second: int) -> str:
    """Formats Unix time for the header ``Date``."""
    return format_timestamp(second)
