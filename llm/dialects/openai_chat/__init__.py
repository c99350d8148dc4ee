"""Chat Completions, both ways: OpenAI and everybody who imitates it.

Wire: https://platform.openai.com/docs/api-reference/chat

What surprises, and who does it:

- Usage comes behind the end, in a chunk without choices, and only if it was asked for; elsewhere in any chunk.
- Thoughts come as ``reasoning_content`` or ``reasoning``, sometimes as both with the same text, sometimes as details
  that have to come back unchanged (OpenRouter), sometimes as parts of a list (Mistral).
- Pieces of calls are told apart by ``index``, where there is one; else by id; else they belong to the last call. Some
  hosts number all their calls 0 and give no ids (Google's imitation), or one id twice.
- A reason to finish may come twice, before the last text, or not at all where ``[DONE]`` does; some hosts send no
  ``[DONE]``.
- An error may be one of the chunks, stand in a choice or in ``x_groq``, or be the whole body of a 200.
- Citations count their offsets in all the text of an answer, whatever stood between its pieces.
- Further choices (``n``) and sound in a stream have no neutral form: they pass verbatim or are refused.
- ``completion_tokens`` holds reasoning, but not at xAI, whose total says so.
"""

from llm.dialects.base import REQUEST_ID, status_of
from llm.dialects.openai_chat.client_request import read_request
from llm.dialects.openai_chat.client_response import write_reply, writer
from llm.dialects.openai_chat.engine_errors import read_error
from llm.dialects.openai_chat.engine_models import list_models
from llm.dialects.openai_chat.engine_request import only_usage, verbatim, write_request
from llm.dialects.openai_chat.engine_response import framing, read_reply, reader
from llm.dialects.openai_chat.shared import NAME, REASONING_FIELD
from llm.dialects.openai_common import write_error, write_models

__all__ = [
    "NAME",
    "REASONING_FIELD",
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
