"""OpenAI's Responses, both ways: ``POST /responses`` towards engines, ``POST /v1/responses`` towards clients.

Wire: https://platform.openai.com/docs/api-reference/responses, .../responses-streaming

What surprises:

- An answer is a list of items (message, reasoning, function_call, …), and so is a question: results of tools and
  thoughts stand between the messages. A reasoning item parted from what followed it is refused, and so is one that
  nothing followed.
- We ask statelessly (``store: false``) unless the request itself says ``store`` or goes on from something stored: what
  a client tells to this server is its own. Reasoning then comes back encrypted, if it is asked for (``include``), and
  what came without is not sent back: its id means nothing there. Models that do not reason answer 400 to being asked.
- A function whose ``strict`` is left out is strict here, unlike in Chat Completions: it is always said.
- Pieces are told apart by ``output_index``; ids of items may change from event to event (GitHub Copilot) or between
  the stream and its last event (OpenRouter), whose ``output`` may be empty (ChatGPT).
- Arguments, or a text, may come in the last event alone (LM Studio), or an item may end after the next one has
  (OpenRouter).
- The stream ends with ``response.completed``, ``response.incomplete`` or ``response.failed``; ``[DONE]`` is no end.
- An error is an event ``error``, flat or with an object in it, or ``response.failed``.
- There is no word for the end: that a tool was called is seen from the items.

A call's ``id`` is the wire's ``call_id``; the id of its item is kept. What is kept of a text is what its part has more
(``type`` for a refusal), with the fields of its item under ``item``; of everything else it is the item as it came.
"""

from llm.dialects.base import REQUEST_ID, status_of
from llm.dialects.openai_common import write_error, write_models
from llm.dialects.openai_responses.client_request import read_request
from llm.dialects.openai_responses.client_response import write_reply, writer
from llm.dialects.openai_responses.engine_errors import read_error
from llm.dialects.openai_responses.engine_models import list_models
from llm.dialects.openai_responses.engine_request import only_usage, verbatim, write_request
from llm.dialects.openai_responses.engine_response import framing, read_reply, reader
from llm.dialects.openai_responses.shared import NAME

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
