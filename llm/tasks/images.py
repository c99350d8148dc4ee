"""Image generation for OpenAI clients, over engines with the same API.

Wire reference: https://platform.openai.com/docs/api-reference/images/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.dialects.base import EngineRequest
from llm.wire.json_codec import Json

PATH: Final = "/images/generations"  # of the API, below the base URL


def passthrough_request(body: Mapping[str, Json], model: str) -> EngineRequest:
    """Returns the client's own body with the engine's name of the model."""
    return EngineRequest(path=PATH, body={**body, "model": model})
