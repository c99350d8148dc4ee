"""``/api/generate``: one prompt instead of messages, ``response`` instead of a message; else as ``/api/chat``.

Engines of this wire get it as it is; what is translated goes to their ``/api/chat``.
"""

from __future__ import annotations

from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.base import REQUEST_ID, status_of
from llm.dialects.ollama.client_request import read_request
from llm.dialects.ollama.client_response import LineWriter, write_error, write_models
from llm.dialects.ollama.client_response import write_reply as _write_reply
from llm.dialects.ollama.shared import NAME
from llm.wire.json_codec import Json

__all__ = ["NAME", "REQUEST_ID", "read_request", "status_of", "write_error", "write_models", "write_reply", "writer"]


def writer(request: ChatRequest, now: int) -> LineWriter:
    return LineWriter(request, now, generate=True)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    return _write_reply(reply, request, now, generate=True)
