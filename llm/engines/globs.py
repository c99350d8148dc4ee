"""Names by globs: ``*`` any characters, ``?`` one, ``[0-9]`` one of these; capitals are told apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import cache, lru_cache, update_wrapper
from typing import Final, TypeVar, TypeVarTuple, cast

_NEVER: Final = "(?!)"
_LONGEST: Final = 200  # characters of a name that is remembered: clients choose them

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def remembered(find: Callable[[str, *Ts], T]) -> Callable[[str, *Ts], T]:
    """What was found for the names that were asked for last, since most requests are for a few models."""
    kept = cast("Callable[[str, *Ts], T]", lru_cache(maxsize=256)(find))

    def found(name: str, *among: *Ts) -> T:
        return kept(name, *among) if len(name) <= _LONGEST else find(name, *among)

    update_wrapper(found, find)
    return found


@remembered
def fits(name: str, globs: tuple[str, ...]) -> bool:
    """Whether one of them fits all of ``name``. ``globs`` are a record's: their pattern is kept."""
    return _pattern(globs).match(name) is not None


def first(name: str, globs: tuple[str, ...]) -> int | None:
    """The number of the first of them that fits."""
    match = _numbered(globs).match(name)
    return None if match is None or match.lastindex is None else match.lastindex - 1


@cache
def _numbered(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"({translate(glob)})" for glob in globs) or _NEVER)


@cache
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)) or _NEVER)
