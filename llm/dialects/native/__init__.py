"""The server's own JSON API, ``POST /llm/chat``, client side; compatible with the older server.

Wire: README.md, "Native API". A stream is one object per chunk, each with ``type`` and ``done``, in three framings.
"""

from llm.dialects.base import REQUEST_ID, AnswerForms, ClientHeaders, get_http_status
from llm.dialects.native.client_request import read_message, read_options, read_request
from llm.dialects.native.client_response import (
    NativeFraming,
    NativeWriter,
    choose_framing,
    create_writer,
    read_arguments,
    write_error,
    write_models,
    write_reply,
    write_usage,
)
from llm.dialects.native.client_threads import write_thread
from llm.dialects.native.shared import NAME

ANSWER_FORMS = AnswerForms(
    media=("image", "audio", "video", "document"), media_urls=True, citations=True, provider_runs=True
)
ARGUMENTS_ARE_VALUES = False
CLIENT_HEADERS = ClientHeaders()

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "NativeFraming",
    "NativeWriter",
    "choose_framing",
    "create_writer",
    "get_http_status",
    "read_arguments",
    "read_message",
    "read_options",
    "read_request",
    "write_error",
    "write_models",
    "write_reply",
    "write_thread",
    "write_usage",
]
