"""JSON Schema checks of request bodies, with errors that name the place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from handlers.request.schema_fast import Shape
from llm.errors import InvalidRequest
from llm.wire.json_codec import loads

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"


class Schemas:
    """The schemas of ``schemas/``, each compiled once."""

    def __init__(self, folder: Path = SCHEMAS) -> None:
        schemas = {path.name.removesuffix(".json"): loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
        self._validators = {name: Draft202012Validator(schema) for name, schema in schemas.items()}
        self._shapes = {name: Shape(schema) for name, schema in schemas.items()}

    def check(self, name: str, body: Mapping[str, Any]) -> None:
        """Raises ``InvalidRequest`` with the place of the worst fault in ``param``."""
        if self._shapes[name].fits(body):
            return
        error = best_match(self._validators[name].iter_errors(body))
        if error is not None:
            where = place(error.absolute_path)
            if error.validator == "required":
                missing = next(field for field in error.validator_value if field not in error.instance)
                where = f"{where}.{missing}".lstrip(".")
            if error.validator == "additionalProperties":
                extra = next(field for field in error.instance if field not in error.schema["properties"])
                where = f"{where}.{extra}".lstrip(".")
            raise InvalidRequest(f"{where or 'body'}: {_reason(error)}", param=where or None)


def place(path: Iterable[str | int]) -> str:
    """``["messages", 2, "role"]`` as ``messages[2].role``."""
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


def _reason(error: ValidationError) -> str:
    """What is wrong, without repeating a value that may be megabytes of picture."""
    wanted: Any = error.validator_value
    match error.validator:
        case "required":
            return "is required"
        case "additionalProperties":
            return "is not known here"
        case "type":
            wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
            return f"has to be {wanted}, not {_TYPES[type(error.instance)]}"
        case "enum" | "const":
            return f"{_short(error.instance)} is not one of {', '.join(map(str, wanted))}"
        case "pattern":
            return f"{_short(error.instance)} is not allowed here"
        case "minLength" | "minItems":
            return "must not be empty"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return f"{_short(error.instance)} is out of range ({error.validator} {wanted})"
    return error.message[:200]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
