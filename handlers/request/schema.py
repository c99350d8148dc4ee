"""Validates request bodies by JSON Schema, with errors that name the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.request.schema_fast import FastSchema
from llm.errors import InvalidRequest
from llm.wire.json_codec import loads
from llm.wire.json_schema import find_error

if TYPE_CHECKING:
    from jsonschema import ValidationError

# Folder of the request schemas, one file for each.
SCHEMAS: Final = Path(__file__).parents[2] / "schemas"


class Schemas:
    """The schemas in ``schemas/``, each compiled once."""

    def __init__(self, folder: Path = SCHEMAS) -> None:
        self._schemas = {
            path.name.removesuffix(".json"): loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))
        }
        self._fast = {name: FastSchema(schema) for name, schema in self._schemas.items()}

    @property
    def documents(self) -> Mapping[str, Mapping[str, Any]]:
        """The schemas by name."""
        return self._schemas

    def check(self, name: str, body: Mapping[str, Any]) -> None:
        """Checks a body by the schema of this file name. Raises ``InvalidRequest``, with the field in ``param``."""
        if self._fast[name].matches(body):
            return
        error = find_error(self._schemas[name], body)
        if error is not None:
            field_path = format_path(error.absolute_path)
            if error.validator == "required":
                missing = next(field for field in error.validator_value if field not in error.instance)
                field_path = f"{field_path}.{missing}".lstrip(".")
            if error.validator == "additionalProperties":
                extra = next(field for field in error.instance if field not in error.schema["properties"])
                field_path = f"{field_path}.{extra}".lstrip(".")
            raise InvalidRequest(f"{field_path or 'body'}: {_describe(error)}", param=field_path or None)


def format_path(path: Iterable[str | int]) -> str:
    """Formats a JSON path: ``["messages", 2, "role"]`` becomes ``messages[2].role``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


_TYPES: Final = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _describe(error: ValidationError) -> str:
    """Describes a schema error without quoting the value, which may be a large image."""
    expected: Any = error.validator_value
    match error.validator:
        case "required":
            return "is required"
        case "additionalProperties":
            return "is not known here"
        case "type":
            expected = expected if isinstance(expected, str) else " or ".join(expected)
            return f"has to be {expected}, not {_TYPES[type(error.instance)]}"
        case "enum" | "const":
            return f"{_shorten(error.instance)} is not one of {', '.join(map(str, expected))}"
        case "pattern":
            return f"{_shorten(error.instance)} is not allowed here"
        case "minLength" | "minItems":
            return "must not be empty"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return f"{_shorten(error.instance)} is out of range ({error.validator} {expected})"
    return error.message[:200]


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
