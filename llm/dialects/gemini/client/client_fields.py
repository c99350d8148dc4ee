"""Reads the objects of a client's request, whose names have two spellings.

The wire is JSON of protocol buffers: Google's servers read each name in camelCase and in snake_case, and one object in
the place of a list (https://protobuf.dev/programming-guides/json). SDKs send both spellings in one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm.wire.json_strict import Fields

_BOUNDARY: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")


def to_camel_case(name: str) -> str:
    """Returns a field's name in camelCase.

    >>> to_camel_case("system_instruction")
    'systemInstruction'
    """
    return _BOUNDARY.sub(lambda match: match[1].upper(), name) if "_" in name else name


def spell_names(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object with its own names in camelCase; of two spellings of a name the camelCase one counts."""
    spelled = {to_camel_case(name): value for name, value in wire.items()}
    return spelled | {name: value for name, value in wire.items() if name in spelled}


class SpelledFields(Fields):
    """Reads the fields of one object, and of the objects in it, by their names in camelCase."""

    def __init__(self, raw: Mapping[str, Any], path: str = "") -> None:
        super().__init__(spell_names(raw), path)
        self.path = path

    def read_object(self, name: str) -> SpelledFields | None:
        """Reads an object, as a reader of its own fields."""
        value = super().read_object(name)
        return None if value is None else SpelledFields(value.raw, self.join(name))

    def read_plain(self, name: str) -> Mapping[str, Any] | None:
        """Reads an object whose names are not those of the wire: arguments, a schema."""
        value = super().read_object(name)
        return None if value is None else value.raw

    def join(self, name: str) -> str:
        """Returns the path of a field."""
        return f"{self.path}.{name}" if self.path else name


def read_objects(fields: SpelledFields, name: str) -> Iterator[SpelledFields]:
    """Yields a reader for each object of a list, which may be one object. Raises ``InvalidRequest``."""
    wire = fields.raw.get(name)
    listed = [wire] if isinstance(wire, dict) else [] if wire is None else wire
    if not isinstance(listed, list):
        raise fields.invalid(name, "is not a list")
    for number, one in enumerate(listed):
        if not isinstance(one, dict):
            raise fields.invalid(f"{name}[{number}]", "is not an object")
        yield SpelledFields(one, fields.join(f"{name}[{number}]"))
