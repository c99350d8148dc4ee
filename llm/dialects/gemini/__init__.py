"""Gemini's ``generateContent``, engine side, and the errors of its clients.

Wire: https://ai.google.dev/api/generate-content

- The URL selects streaming. A stream has no end marker: it is complete if its bytes end after a ``finishReason``.
- Tool calls come whole, several in a chunk, mostly without ids; results are matched to calls by name.
- A part may have a ``thoughtSignature``, which must be sent back on the same part: such parts are never merged.
- ``candidatesTokenCount`` excludes reasoning tokens. A wrong key is status 400. Grounding offsets count UTF-8 bytes.
"""

from llm.dialects.base import REQUEST_ID, get_http_status
from llm.dialects.gemini.client_errors import write_error
from llm.dialects.gemini.engine_errors import read_error
from llm.dialects.gemini.engine_models import list_models
from llm.dialects.gemini.engine_request import SKIP_SIGNATURE, TOOL_NAMES, write_request
from llm.dialects.gemini.engine_response import create_framing, create_reader, read_reply
from llm.dialects.gemini.profiles import is_new_model
from llm.dialects.gemini.shared import NAME

__all__ = [
    "NAME",
    "REQUEST_ID",
    "SKIP_SIGNATURE",
    "TOOL_NAMES",
    "create_framing",
    "create_reader",
    "get_http_status",
    "is_new_model",
    "list_models",
    "read_error",
    "read_reply",
    "write_error",
    "write_request",
]
