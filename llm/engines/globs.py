"""Matches model ids against globs: ``*`` any characters, ``?`` one, ``[0-9]`` one of these; case-sensitive."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import cache, lru_cache, update_wrapper
from typing import Final, TypeVar, TypeVarTuple, cast

_NEVER: Final = "(?!)"  # a pattern that matches nothing
_MAX_CACHED: Final = 200  # characters; longer names are not cached, since clients choose them

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def cached_by_name(find: Callable[[str, *Ts], T]) -> Callable[[str, *Ts], T]:
    """Caches a function of a name in an LRU of 256 calls, since most requests are for a few models."""
    cached = cast("Callable[[str, *Ts], T]", lru_cache(maxsize=256)(find))

    def call(name: str, *args: *Ts) -> T:
        return cached(name, *args) if len(name) <= _MAX_CACHED else find(name, *args)

    update_wrapper(call, find)
    return call


@cached_by_name
def matches(name: str, globs: tuple[str, ...]) -> bool:
    """True if any glob matches the whole name. The compiled pattern is never freed: pass globs of a record only."""
    return _compile(globs).match(name) is not None


def first_match(name: str, globs: tuple[str, ...]) -> int | None:
    """Returns the index of the first glob that matches the whole name, or None."""
    match = _compile_numbered(globs).match(name)
    return None if match is None or match.lastindex is None else match.lastindex - 1


@cache
def _compile_numbered(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"({translate(glob)})" for glob in globs) or _NEVER)


@cache
def _compile(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)) or _NEVER)
