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


@cache
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)) or _NEVER)
