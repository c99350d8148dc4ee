"""Chat Completions for clients and engines: OpenAI and the hosts that imitate it.

Wire: https://platform.openai.com/docs/api-reference/chat

Differences between the hosts:

- Usage comes after the last choice, in a chunk without choices, and only if requested; some hosts send it in any chunk.
- Reasoning comes as ``reasoning_content`` or ``reasoning``, sometimes as both with the same text, as details that must
  be sent back unchanged (OpenRouter), or as parts of a content list (Mistral).
- Deltas of tool calls are matched by ``index``, else by id, else they belong to the last call. Some hosts number all
  their calls 0 and send no ids (Google's imitation), or send one id twice.
- A finish reason may come twice, before the last text, or be absent where ``[DONE]`` follows; some hosts send no
  ``[DONE]``.
- An error may be one of the chunks, be inside a choice or ``x_groq``, or be the whole body of a response with status
  200.
- Citation offsets count characters in the whole text of an answer, across all of its parts.
- Further choices (``n``) and audio in a stream have no neutral form: they are passed through unchanged or refused.
- ``completion_tokens`` includes reasoning tokens, except at xAI, where ``total_tokens`` is larger by them.
"""

from llm.dialects.base import REQUEST_ID, AnswerForms, get_http_status
from llm.dialects.openai_chat.client_request import read_request
from llm.dialects.openai_chat.client_response import choose_reasoning_fields, create_writer, write_reply
from llm.dialects.openai_chat.engine_errors import read_error
from llm.dialects.openai_chat.engine_models import list_models
from llm.dialects.openai_chat.engine_request import TOOL_NAMES, write_request
from llm.dialects.openai_chat.engine_response import create_framing, create_reader, read_reply
from llm.dialects.openai_chat.passthrough import (
    create_repair,
    find_unconvertible_field,
    is_only_usage,
    passthrough_request,
    repair_document,
)
from llm.dialects.openai_chat.shared import NAME
from llm.dialects.openai_common import CLIENT_HEADERS, write_error, write_models

ANSWER_FORMS = AnswerForms(media=("image",), media_urls=True, citations=True)
ARGUMENTS_ARE_VALUES = False

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "TOOL_NAMES",
    "choose_reasoning_fields",
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
