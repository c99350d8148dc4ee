"""What changes in a chat that is passed through to an engine of the same dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.gemini.engine_request import write_model_path
from llm.dialects.gemini.shared import CONFIG_PREFIX, NAME, SKIP_SIGNATURE, is_sealed
from llm.dialects.losses import REASONING
from llm.dialects.stream_repair import StreamRepair, read_object
from llm.engines.engine import Engine
from llm.errors import LLMError
from llm.wire.frames import Frame
from llm.wire.json_lenient import as_count, as_dict

_FROM_URL: Final = ("model", "stream")  # put into the body by the handler
_CANDIDATES: Final = f"{CONFIG_PREFIX}candidateCount"
_SIGNATURES: Final = ("thoughtSignature", "thought_signature")
_FOREIGN_LINE: Final = re.compile(rb"(?:\A|[\r\n])(?!data:|[\r\n]|\Z)")  # neither data nor blank


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Returns the client's own body; the engine's model id and the method are in the path.

    Signatures that this server has sealed for the client belong to other engines: they are replaced.
    """
    method = "streamGenerateContent?alt=sse" if body.get("stream") else "generateContent"
    passed = {name: value for name, value in body.items() if name not in _FROM_URL}
    dropped: list[str] = []
    contents = passed.get("contents")
    if isinstance(contents, list):
        passed["contents"] = [_remove_sealed(content, dropped) for content in contents]
    return EngineRequest(
        path=f"/v1beta/{write_model_path(model)}:{method}", body=passed, dropped=tuple(dict.fromkeys(dropped))
    )


def _remove_sealed(content: Any, dropped: list[str]) -> Any:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not any(map(_is_sealed, parts)):
        return content
    kept = []
    for part in parts:
        if not _is_sealed(part):
            kept.append(part)
        elif part.get("thought"):
            dropped.append(REASONING)
        else:
            rest = {name: value for name, value in part.items() if name not in _SIGNATURES}
            is_call = "functionCall" in part or "function_call" in part
            kept.append({**rest, "thoughtSignature": SKIP_SIGNATURE} if is_call else rest)
    return {**content, "parts": kept}


def _is_sealed(part: Any) -> bool:
    return isinstance(part, dict) and any(is_sealed(part.get(name)) for name in _SIGNATURES)


def is_only_usage(frame: Frame) -> bool:
    """Returns False: usage is part of the chunks of an answer."""
    return False


def find_unconvertible_field(request: ChatRequest, engine: Engine) -> str | None:
    """Returns ``candidateCount`` if several answers are requested: the neutral form of an answer has one."""
    fields = metadata_for_engine(request.metadata, NAME, engine.issuer)
    return _CANDIDATES if (as_count(fields.get(_CANDIDATES)) or 1) > 1 else None


def create_repair(reader: Any, engine: Engine) -> ChunkRepair:
    """Creates the repair of one stream."""
    return ChunkRepair()


class ChunkRepair(StreamRepair):
    """Leaves out comments and the lines ``event``, ``id`` and ``retry``, at which Google's SDKs fail."""

    MARKS = (*StreamRepair.MARKS, b"\nevent", b"\nid", b"\nretry", b"\n:", b"[DONE]")
    START = b"data:"
    keeps_comments = False

    __slots__ = ()

    def repair(self, event: bytes, frame: Frame) -> bytes:
        """Returns the event with its data alone."""
        if frame.data.strip() == "[DONE]":
            return b""
        if _FOREIGN_LINE.search(event) is not None or "\n" in frame.data:
            event = b"data: %b\n\n" % frame.data.replace("\n", " ").encode()
        return self.join_halves(event)

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True for an error, and for a prompt that was refused."""
        wire = read_object(frame)
        return bool(wire.get("error") or as_dict(wire.get("promptFeedback")).get("blockReason"))
