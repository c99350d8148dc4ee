"""Our own JSON, client side: the API of the older server, as ``POST /llm/chat`` promises it.

Wire: README.md, "Native API". One object a chunk, every one with ``type`` and ``done``; three framings.
"""

from llm.dialects.base import REQUEST_ID, status_of
from llm.dialects.native.client_request import read_message, read_options, read_request
from llm.dialects.native.client_response import (
    NativeFraming,
    NativeWriter,
    framing_for,
    read_arguments,
    write_error,
    write_models,
    write_reply,
    write_usage,
    writer,
)
from llm.dialects.native.client_threads import write_thread
from llm.dialects.native.shared import NAME

__all__ = [
    "NAME",
    "REQUEST_ID",
    "NativeFraming",
    "NativeWriter",
    "framing_for",
    "read_arguments",
    "read_message",
    "read_options",
    "read_request",
    "status_of",
    "write_error",
    "write_models",
    "write_reply",
    "write_thread",
    "write_usage",
    "writer",
]
