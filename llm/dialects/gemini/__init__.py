"""Gemini's ``generateContent``, for clients and for engines.

Wire: https://ai.google.dev/api/generate-content

- The URL selects streaming. A stream has no end marker: it is complete if its bytes end after a ``finishReason``.
- Tool calls come whole, several in a chunk, mostly without ids; results are matched to calls by name.
- A part may have a ``thoughtSignature``, which must be sent back on the same part: such parts are never merged.
- ``candidatesTokenCount`` excludes reasoning tokens. A wrong key is status 400. Grounding offsets count UTF-8 bytes.
"""

from llm.dialects.base import REQUEST_ID, AnswerForms, get_http_status
from llm.dialects.gemini.client.client_errors import write_blocked, write_error
from llm.dialects.gemini.client.client_fields import SpelledFields, read_objects
from llm.dialects.gemini.client.client_request import read_request
from llm.dialects.gemini.client.client_response import ContentWriter, create_writer, write_models, write_reply
from llm.dialects.gemini.engine_errors import read_error
from llm.dialects.gemini.engine_models import list_models
from llm.dialects.gemini.engine_request import TOOL_NAMES, write_model_path, write_request
from llm.dialects.gemini.engine_response import create_framing, create_reader, read_reply
from llm.dialects.gemini.passthrough import (
    create_repair,
    find_unconvertible_field,
    is_only_usage,
    passthrough_request,
)
from llm.dialects.gemini.profiles import is_new_model
from llm.dialects.gemini.shared import CLIENT_HEADERS, NAME, SKIP_SIGNATURE
from llm.dialects.stream_repair import keep_document as repair_document

ANSWER_FORMS = AnswerForms(media=("image", "document", "audio", "video"), media_urls=True, citations=True)
ARGUMENTS_ARE_VALUES = True

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "SKIP_SIGNATURE",
    "TOOL_NAMES",
    "ContentWriter",
    "SpelledFields",
    "create_framing",
    "create_reader",
    "create_repair",
    "create_writer",
    "find_unconvertible_field",
    "get_http_status",
    "is_new_model",
    "is_only_usage",
    "list_models",
    "passthrough_request",
    "read_error",
    "read_objects",
    "read_reply",
    "read_request",
    "repair_document",
    "write_blocked",
    "write_error",
    "write_model_path",
    "write_models",
    "write_reply",
    "write_request",
]
