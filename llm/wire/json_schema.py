"""Finds what is wrong with a value by JSON Schema.

``jsonschema`` and what it needs take 4 MB of memory and 50 ms to import. A server whose clients send valid bodies needs
none of it (``handlers.request.schema_fast``), so it is imported when the first error is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def find_error(schema: Mapping[str, Any], value: object) -> Any:
    """Returns the ``jsonschema.ValidationError`` of ``value`` that explains most; None if the value is valid.

    ``schema`` is one of draft 2020-12.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    return best_match(Draft202012Validator(schema).iter_errors(value))
