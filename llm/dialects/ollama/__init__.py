"""Ollama's own API, both ways: ``/api/chat``, towards clients ``/api/generate`` and the lists of models too.

Wire: https://github.com/ollama/ollama/blob/main/docs/api.md

What surprises:

- JSON lines, not events; ``stream`` is on unless it is said to be off.
- Arguments of calls are objects both ways; calls come whole, on older servers without ids.
- Pictures are bare base64 beside the text.
- ``prompt_eval_count`` is left out when the whole prompt was in the cache.
- A model that cannot think answers ``think`` with 400.
- There is no choice among tools: to use none, none are told.
"""

from llm.dialects.base import REQUEST_ID, status_of
from llm.dialects.ollama import client_generate
from llm.dialects.ollama.client_request import read_request
from llm.dialects.ollama.client_response import write_error, write_models, write_reply, write_show, writer
from llm.dialects.ollama.engine_errors import read_error
from llm.dialects.ollama.engine_models import list_models
from llm.dialects.ollama.engine_request import only_usage, verbatim, write_request
from llm.dialects.ollama.engine_response import framing, read_reply, reader
from llm.dialects.ollama.shared import NAME

__all__ = [
    "NAME",
    "REQUEST_ID",
    "client_generate",
    "framing",
    "list_models",
    "only_usage",
    "read_error",
    "read_reply",
    "read_request",
    "reader",
    "status_of",
    "verbatim",
    "write_error",
    "write_models",
    "write_reply",
    "write_request",
    "write_show",
    "writer",
]
