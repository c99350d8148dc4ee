"""Puts together the arguments of a streamed function call, which come as values of JSON paths.

Wire: ``functionCall.partialArgs`` and ``willContinue`` (google-genai 3.6.1, ``types.PartialArg``). The first piece has
the name; a text whose ``willContinue`` is true goes on in the next piece with the same path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import as_dicts

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_VALUES: Final = ("stringValue", "numberValue", "boolValue", "nullValue")
_MAX_INDEX: Final = 10_000  # of a list in the arguments


class StreamedCall:
    """The arguments of one call so far."""

    def __init__(self, index: int) -> None:
        self.index = index  # of its part
        self._arguments: dict[str, Json] = {}
        self._broken = False  # a piece has no place

    def add(self, call: Mapping[str, Any]) -> None:
        """Adds the pieces of one ``functionCall``."""
        if isinstance(args := call.get("args"), dict):
            self._arguments |= args
        for piece in as_dicts(call.get("partialArgs")):
            name = next((name for name in _VALUES if name in piece), None)
            path = piece.get("jsonPath")
            if name is None or not isinstance(path, str) or not self._set(path, piece[name], name == "nullValue"):
                self._broken = True

    def write(self, *, complete: bool) -> str:
        """Returns the arguments as JSON; if they are not complete, as a text that is not JSON."""
        text = dumps(self._arguments)
        return text if complete and not self._broken else text[:-1]

    def _set(self, path: str, value: Any, is_null: bool) -> bool:
        steps = _read_path(path)
        if not steps:
            return False
        place: Any = self._arguments
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if isinstance(step, int) != isinstance(place, list):
                return False
            if isinstance(step, int):
                if step > len(place) or step > _MAX_INDEX:
                    return False
                if step == len(place):
                    place.append(None)
                before = place[step]
            else:
                before = place.get(step)
            if following is None:
                joined = isinstance(before, str) and isinstance(value, str)
                place[step] = None if is_null else before + value if joined else value
                return True
            if before is None:
                before = place[step] = [] if isinstance(following, int) else {}
            if not isinstance(before, dict | list):
                return False
            place = before
        return False


def _read_path(path: str) -> list[str | int]:
    """Reads a JSON path such as ``$.a.b[0]['c d']``; returns nothing for any other."""
    if not path.startswith("$"):
        return []
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return []
        name, index, single, double = match.groups()
        steps.append(int(index) if index is not None else next(n for n in (name, single, double) if n is not None))
        at = match.end()
    return steps
