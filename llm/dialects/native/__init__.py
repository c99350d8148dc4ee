"""Our own JSON, client side: the API of the older server, as ``POST /llm/chat`` promises it.

Wire: README.md, "Native API". One object a chunk, every one with ``type`` and ``done``; three framings.
"""

from llm.dialects import REQUEST_ID, status_of
from llm.dialects.native.client import read_message, read_options, read_request
from llm.dialects.native.failures import write_error
from llm.dialects.native.listing import write_models
from llm.dialects.native.names import NAME
from llm.dialects.native.reply import read_arguments, write_reply, write_usage
from llm.dialects.native.thread import write_thread
from llm.dialects.native.writer import NativeFraming, NativeWriter, framing_for, writer

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
