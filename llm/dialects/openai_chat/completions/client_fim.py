"""Client dialect of ``/v1/fim/completions``: ``prompt`` and ``suffix``, answered as a chat completion."""

from __future__ import annotations

from llm.dialects.base import REQUEST_ID, AnswerForms, ClientHeaders, get_http_status
from llm.dialects.openai_chat.client_response import create_writer, write_reply
from llm.dialects.openai_chat.completions.client_request import read_request
from llm.dialects.openai_common import write_error, write_models
from llm.engines.api_choice import FIM as NAME

ANSWER_FORMS = AnswerForms()
ARGUMENTS_ARE_VALUES = False
CLIENT_HEADERS = ClientHeaders()

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "create_writer",
    "get_http_status",
    "read_request",
    "write_error",
    "write_models",
    "write_reply",
]
