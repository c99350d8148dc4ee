"""Client dialect of ``/api/generate``: like ``/api/chat``, with ``prompt`` and ``response`` instead of messages.

Requests pass unchanged to engines of this wire; translated requests are sent to ``/api/chat``.
"""

from __future__ import annotations

from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects.base import REQUEST_ID, AnswerForms, ClientHeaders, get_http_status
from llm.dialects.ollama.client_request import read_request
from llm.dialects.ollama.client_response import LineWriter, write_error, write_models
from llm.dialects.ollama.client_response import write_reply as _write_reply
from llm.dialects.ollama.shared import NAME
from llm.wire.json_codec import Json

ANSWER_FORMS = AnswerForms(media=("image",))
ARGUMENTS_ARE_VALUES = True
CLIENT_HEADERS = ClientHeaders()

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "create_writer",
    "get_http_status",
    "read_request",
    "write_error",
    "write_models",
    "write_reply",
]


def create_writer(request: ChatRequest, now: int) -> LineWriter:
    """Creates the writer of one streamed answer. ``now``: seconds since 1970."""
    return LineWriter(request, now, generate=True)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """Writes a whole answer. Raises ``EngineFailed`` if the finish reason is ``error``."""
    return _write_reply(reply, request, now, generate=True)
