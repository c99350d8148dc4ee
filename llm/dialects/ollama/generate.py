"""``/api/generate``: one prompt instead of messages, ``response`` instead of a message; else as ``/api/chat``.

Engines of this wire get it as it is; what is translated goes to their ``/api/chat``.
"""

from __future__ import annotations

from llm.chat import ChatRequest
from llm.dialects import REQUEST_ID, status_of
from llm.dialects.ollama.client import read_request
from llm.dialects.ollama.common import NAME
from llm.dialects.ollama.writer import LineWriter, write_error, write_models
from llm.dialects.ollama.writer import write_reply as _write_reply
from llm.events import Reply
from llm.opaque import Json

__all__ = ["NAME", "REQUEST_ID", "read_request", "status_of", "write_error", "write_models", "write_reply", "writer"]


def writer(request: ChatRequest, now: int) -> LineWriter:
    return LineWriter(request, now, generate=True)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    return _write_reply(reply, request, now, generate=True)
