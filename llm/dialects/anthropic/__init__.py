"""Anthropic Messages, for clients and for engines.

Wire: https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/api/messages-streaming

Facts that are easy to miss:

- ``max_tokens`` is required and includes the thinking tokens.
- ``input_tokens`` excludes cache reads and cache writes; ``Usage`` has separate counters for them.
- The results of all tool calls of one assistant message have to be in one user message, at its start.
- Blank text is refused in any block, and so is trailing white space in a last assistant message that is continued.
- Thinking blocks are signed and have to be sent back byte for byte, at the same position; unsigned ones are left out.
- Which forms of thinking, samplers and efforts are accepted depends on the model (``profiles``).
- An error may be the first and only event of a stream whose status is 200.
- A prompt that is too long is reported by an English message only, without a code.
- This wire sends all fields of a tool call at its start, our events send the unknown ones at its end. So a
  provider-run call is written when it is complete, and a streaming client loses the ``caller`` of every other call.
"""

from llm.dialects.anthropic.client_errors import REQUEST_ID, get_http_status, write_error
from llm.dialects.anthropic.client_request import read_request
from llm.dialects.anthropic.client_response import create_writer, write_models, write_reply
from llm.dialects.anthropic.client_tools.web_runs import WebRuns
from llm.dialects.anthropic.engine_errors import read_error
from llm.dialects.anthropic.engine_models import list_models
from llm.dialects.anthropic.engine_request import TOOL_NAMES, write_request
from llm.dialects.anthropic.engine_response import create_framing, create_reader, read_reply
from llm.dialects.anthropic.passthrough import (
    create_repair,
    find_unconvertible_field,
    is_only_usage,
    passthrough_request,
)
from llm.dialects.anthropic.profiles import is_new_model, long_context_headers
from llm.dialects.anthropic.shared import CLIENT_HEADERS, NAME
from llm.dialects.base import AnswerForms
from llm.dialects.stream_repair import keep_document as repair_document

ANSWER_FORMS = AnswerForms(web_stage=WebRuns)
ARGUMENTS_ARE_VALUES = True

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "TOOL_NAMES",
    "create_framing",
    "create_reader",
    "create_repair",
    "create_writer",
    "find_unconvertible_field",
    "get_http_status",
    "is_new_model",
    "is_only_usage",
    "list_models",
    "long_context_headers",
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
