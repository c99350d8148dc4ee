"""Pictures from words, for OpenAI's clients over engines of that wire.

Wire: https://platform.openai.com/docs/api-reference/images/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.dialects.base import Outgoing
from llm.wire.json_codec import Json

PATH: Final = "/images/generations"


def verbatim(body: Mapping[str, Json], model: str) -> Outgoing:
    """A client's own body, with the engine's name for the model."""
    return Outgoing(path=PATH, body={**body, "model": model})
