"""What changes in a chat that is passed through to an engine of the same dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.openai_responses.engine_errors import build_other_api
from llm.dialects.openai_responses.engine_request import PATH
from llm.dialects.stream_repair import StreamRepair, read_object
from llm.engines.engine import Engine
from llm.errors import LLMError
from llm.wire.frames import Frame

_NUMBER: Final = re.compile(rb'[{,]\s*"sequence_number"\s*:\s*([0-9]{1,9})\b')
_CHAT_CHUNK: Final = re.compile(rb'[{,]\s*"object"\s*:\s*"chat\.completion\.chunk"')


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Builds a request of the client's own body and the engine's model name; this wire always reports usage."""
    return EngineRequest(path=PATH, body={**body, "model": model})


def is_only_usage(frame: Frame) -> bool:
    """Returns False: this wire has no event that carries only usage."""
    return False


def find_unconvertible_field(request: ChatRequest, engine: Engine) -> str | None:
    """Returns None: each answer of this wire has a neutral form."""
    return None


def create_repair(reader: Any, engine: Engine) -> ResponseRepair:
    """Creates the repair of one stream."""
    return ResponseRepair(engine)


class ResponseRepair(StreamRepair):
    """Repairs nothing but halves of surrogate pairs."""

    NUMBERED = True
    MARKS = (b"[DONE]", *StreamRepair.MARKS)  # clients do not read behind the end marker

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def check_start(self, start: bytes) -> None:
        """Raises ``Malformed`` for the start of a stream of Chat Completions."""
        if _CHAT_CHUNK.search(start):
            raise build_other_api(self._engine)

    def find_next_number(self, last: bytes) -> int | None:
        """Returns the next ``sequence_number``."""
        found = _NUMBER.findall(last)
        return int(found[-1]) + 1 if found else None

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True for ``response.failed`` and a typed ``error``: Codex, among others, ignores an event without a type."""
        return read_object(frame).get("type") in ("response.failed", "error")
