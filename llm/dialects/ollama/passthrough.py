"""What changes in a chat that is passed through to an engine of the same dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.ollama.engine_request import GENERATE_PATH, PATH
from llm.dialects.stream_repair import StreamRepair, read_object
from llm.engines.engine import Engine
from llm.errors import LLMError
from llm.wire.frames import Frame


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Returns the client's body with the engine's model id; usage is always part of this wire's answers."""
    return EngineRequest(path=PATH if "messages" in body else GENERATE_PATH, body={**body, "model": model})


def is_only_usage(frame: Frame) -> bool:
    """Returns False: usage is part of the last line, which is always sent to clients."""
    return False


def find_unconvertible_field(request: ChatRequest, engine: Engine) -> str | None:
    """Returns None: each answer of this wire has a neutral form."""
    return None


def create_repair(reader: Any, engine: Engine) -> LineRepair:
    """Creates the repair of one stream."""
    return LineRepair()


class LineRepair(StreamRepair):
    """Repairs nothing but halves of surrogate pairs."""

    __slots__ = ()

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True for an object with ``error``."""
        return bool(read_object(frame).get("error"))
