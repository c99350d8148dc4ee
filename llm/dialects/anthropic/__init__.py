"""Anthropic Messages, both ways.

Wire: https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/api/messages-streaming

What surprises:

- ``max_tokens`` has to be sent, and includes what is thought.
- ``input_tokens`` leaves out what was read from a cache or written to one; ``Usage`` has them in counters of their own.
- The results of one turn's calls have to be in one user message, first in it.
- Blank text is refused wherever it stands, and so is blank space at the end of a text to go on from.
- Thoughts come back signed and have to be returned byte for byte, in their place; what is not signed is left out.
- Which forms of thinking, samplers and efforts are taken depends on the model (``traits``).
- An error may be the first and only event of a stream whose status is 200.
- That a prompt is too long is told in English only.
- The fields of a call beside id and name come first on this wire but last among our events. So a call that the provider
  runs is written when it is complete, and the ``caller`` of any other is lost to a client that streams.
"""

from llm.dialects.anthropic.client_request import read_request
from llm.dialects.anthropic.client_response import REQUEST_ID, status_of, write_error, write_models, write_reply, writer
from llm.dialects.anthropic.engine_errors import read_error
from llm.dialects.anthropic.engine_models import list_models
from llm.dialects.anthropic.engine_request import only_usage, verbatim, write_request
from llm.dialects.anthropic.engine_response import framing, read_reply, reader
from llm.dialects.anthropic.shared import NAME

__all__ = [
    "NAME",
    "REQUEST_ID",
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
    "writer",
]
