"""Names by globs: ``*`` any characters, ``?`` one, ``[0-9]`` one of these; capitals are told apart."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache
from typing import Final

_NEVER: Final = "(?!)"


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
