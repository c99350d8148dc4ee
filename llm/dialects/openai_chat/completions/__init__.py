"""Text completions: ``/completions``, OpenAI's older API, and ``/fim/completions``, Mistral's, for clients and engines.

Wires: https://platform.openai.com/docs/api-reference/completions, https://docs.mistral.ai/api/endpoint/fim

A prompt is continued, up to a ``suffix`` if there is one. Mistral answers with a chat completion. An engine without
such an API gets the prompt as a chat message, which is possible without a suffix only.
"""

from llm.dialects.base import REQUEST_ID, AnswerForms, get_http_status
from llm.dialects.openai_chat.completions import client_fim
from llm.dialects.openai_chat.completions.client_request import read_request
from llm.dialects.openai_chat.completions.client_response import create_writer, write_reply
from llm.dialects.openai_chat.completions.engine_request import TOOL_NAMES, write_request
from llm.dialects.openai_chat.completions.engine_response import create_framing, create_reader, read_reply
from llm.dialects.openai_chat.completions.passthrough import (
    create_repair,
    find_unconvertible_field,
    is_only_usage,
    passthrough_request,
)
from llm.dialects.openai_chat.engine_errors import read_error
from llm.dialects.openai_chat.engine_models import list_models
from llm.dialects.openai_common import CLIENT_HEADERS, write_error, write_models
from llm.dialects.stream_repair import keep_document as repair_document
from llm.engines.api_choice import COMPLETIONS as NAME

ANSWER_FORMS = AnswerForms(only_text=True)
ARGUMENTS_ARE_VALUES = False

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "TOOL_NAMES",
    "client_fim",
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
    "write_error",
    "write_models",
    "write_reply",
    "write_request",
]
