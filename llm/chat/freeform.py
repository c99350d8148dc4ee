"""Tools whose input is one text instead of JSON: the ``custom`` tools of OpenAI's two APIs.

In the neutral model, and for engines without such tools, they are functions with one text field. So the arguments of
their calls are always the JSON text ``{"input": …}``. Dialects that have the form use the text itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llm.wire.json_codec import Json, dumps, loads

_FIELD: Final = "input"
_START: Final = '{"input":"'
_END: Final = '"}'


@dataclass(frozen=True, slots=True)
class Freeform:
    """The input of a tool is one text."""

    dialect: str  # of the client that sent the tool: engines of it get the same form
    syntax: str = ""  # "text", or the language of a grammar: "lark", "regex"; "": not given
    grammar: str = ""  # its definition

    def build_parameters(self) -> dict[str, Json]:
        """Returns the JSON Schema of the function that stands for the tool; the grammar is told in words."""
        told = "The whole input, as plain text."
        if self.grammar:
            told = f"The whole input, as plain text that matches this {self.syntax} grammar:\n{self.grammar}"
        field: Json = {"type": "string", "description": told}
        return {"type": "object", "properties": {_FIELD: field}, "required": [_FIELD], "additionalProperties": False}


def wrap_input(text: str) -> str:
    """Returns the arguments of a call with this input."""
    return f"{_START}{escape_input(text)}{_END}"


def escape_input(piece: str) -> str:
    """Returns a piece of an input as a piece of its arguments, which begin and end as ``wrap_input("")`` does."""
    return dumps(piece)[1:-1]


def split_wrapping() -> tuple[str, str]:
    """Returns what stands before and after the escaped input in the arguments of a call."""
    return _START, _END


def unwrap_input(arguments: str) -> str:
    """Returns the input of a call. Arguments of any other form, which a model may write, are returned as they are."""
    try:
        value: Json = loads(arguments)
    except ValueError:
        return arguments
    text = value.get(_FIELD) if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_TEXT: Final = re.compile(
    r"""(?:[^"\\]|\\(?:[^u]|u(?![dD][89abAB])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}))*"""
)


class InputUnwrapper:
    """Turns streamed arguments into pieces of the input, as ``unwrap_input`` does for whole arguments."""

    __slots__ = ("_ended", "_held", "_open")

    def __init__(self) -> None:
        self._held = ""  # arguments of which nothing was returned yet
        self._open = False  # inside the text
        self._ended = False

    def feed(self, fragment: str) -> str:
        """Returns the input that is known to be complete up to here; keeps half an escape for the next call."""
        if self._ended:
            return ""
        self._held += fragment
        if not self._open:
            opening = _OPENING.match(self._held)
            if opening is None:
                return ""
            self._open, self._held = True, self._held[opening.end() :]
        found = _TEXT.match(self._held)
        end = found.end() if found else 0
        text, self._held = self._held[:end], self._held[end:]
        self._ended = self._held.startswith('"')
        return _unescape(text)

    def close(self) -> str:
        """Returns the rest of the input: all of it where the arguments have another form."""
        if self._ended:
            return ""
        held, self._ended = self._held, True
        if not self._open:
            return unwrap_input(held)
        rest = unwrap_input(_START + held)  # half of a surrogate pair, or cut arguments
        return held if rest == _START + held else rest


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return str(loads(f'"{text}"'))
    except ValueError:  # a control character, or an escape that JSON does not have
        return text
