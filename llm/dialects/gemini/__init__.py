"""Gemini's generateContent, engine side.

Wire: https://ai.google.dev/api/generate-content

The address says whether an answer streams. There is no terminal event: an answer has ended when its bytes have, if a
``finishReason`` was seen. Calls come whole, several in a chunk, mostly without ids; results are paired by name. A part
may carry a ``thoughtSignature``, which has to come back on that very part: such parts are never merged. Thoughts
are not counted in ``candidatesTokenCount``. A bad key is a 400. Offsets of grounding count UTF-8 bytes.
"""

from llm.dialects.gemini.engine_errors import read_error
from llm.dialects.gemini.engine_models import list_models
from llm.dialects.gemini.engine_request import NO_SIGNATURE, write_request
from llm.dialects.gemini.engine_response import framing, read_reply, reader
from llm.dialects.gemini.shared import NAME

__all__ = [
    "NAME",
    "NO_SIGNATURE",
    "framing",
    "list_models",
    "read_error",
    "read_reply",
    "reader",
    "write_request",
]
