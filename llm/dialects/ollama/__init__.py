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

from llm.dialects import REQUEST_ID, status_of
from llm.dialects.ollama import generate
from llm.dialects.ollama.client import read_request
from llm.dialects.ollama.common import NAME
from llm.dialects.ollama.engine import (
    framing,
    list_models,
    only_usage,
    read_error,
    read_reply,
    reader,
    verbatim,
    write_request,
)
from llm.dialects.ollama.writer import write_error, write_models, write_reply, write_show, writer

__all__ = [
    "NAME",
    "REQUEST_ID",
    "framing",
    "generate",
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
