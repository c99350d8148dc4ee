"""Ollama's own API for clients and engines: ``/api/chat``; for clients also ``/api/generate`` and model lists.

Wire: https://github.com/ollama/ollama/blob/main/docs/api.md

Differences from other wires:

- A stream is JSON lines, not SSE; ``stream`` is true by default.
- Arguments of tool calls are objects; calls come whole, from older servers without ids.
- Images are base64 strings in a field of the message.
- ``prompt_eval_count`` is absent if the whole prompt was cached.
- A model without reasoning answers ``think`` with status 400.
- There is no tool choice: for ``none``, the tools are left out.
"""

from llm.dialects.base import REQUEST_ID, AnswerForms, ClientHeaders, get_http_status
from llm.dialects.ollama import client_generate
from llm.dialects.ollama.client_request import read_request
from llm.dialects.ollama.client_response import (
    create_writer,
    write_durations,
    write_error,
    write_load,
    write_models,
    write_reply,
    write_show,
)
from llm.dialects.ollama.engine_errors import read_error
from llm.dialects.ollama.engine_models import list_models
from llm.dialects.ollama.engine_request import TOOL_NAMES, write_request
from llm.dialects.ollama.engine_response import create_framing, create_reader, read_reply
from llm.dialects.ollama.passthrough import (
    create_repair,
    find_unconvertible_field,
    is_only_usage,
    passthrough_request,
)
from llm.dialects.ollama.shared import NAME
from llm.dialects.stream_repair import keep_document as repair_document

ANSWER_FORMS = AnswerForms(media=("image",))
ARGUMENTS_ARE_VALUES = True
CLIENT_HEADERS = ClientHeaders()

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "TOOL_NAMES",
    "client_generate",
    "create_framing",
    "create_reader",
    "create_repair",
    "create_writer",
    "find_unconvertible_field",
    "get_http_status",
    "is_only_usage",
    "list_models",
    "passthrough_request",
    "read_error",
    "read_reply",
    "read_request",
    "repair_document",
    "write_durations",
    "write_error",
    "write_load",
    "write_models",
    "write_reply",
    "write_request",
    "write_show",
]
