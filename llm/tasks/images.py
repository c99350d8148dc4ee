"""Image generation for OpenAI clients, over engines with the same API.

Wire reference: https://platform.openai.com/docs/api-reference/images/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.dialects.base import Outgoing
from llm.wire.json_codec import Json

PATH: Final = "/images/generations"  # of the API, below the base URL


def verbatim(body: Mapping[str, Json], model: str) -> Outgoing:
    """Returns the client's own body with the engine's name of the model."""
    return Outgoing(path=PATH, body={**body, "model": model})
