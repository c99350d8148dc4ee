"""OpenAI Responses: ``POST /responses`` of engines and ``POST /v1/responses`` for clients.

Wire: https://platform.openai.com/docs/api-reference/responses, .../responses-streaming

Facts that are easy to miss:

- Input and output are lists of items (message, reasoning, function_call, …): tool results and reasoning are items
  between the messages. A reasoning item is refused without the item that followed it, and as the last item.
- Requests are stateless (``store: false``) unless the client sets ``store`` or continues something stored, so that the
  provider stores no conversations by default. Reasoning then comes back encrypted, if ``include`` requests it.
  Reasoning that came unencrypted is not sent back, since the provider does not know its id. Models without reasoning
  answer 400 to this ``include``.
- A function without ``strict`` is strict here, unlike in Chat Completions, so ``strict`` is always written.
- ``output_index`` identifies the item of a delta: item ids may change from event to event (GitHub Copilot) or between
  the stream and its last event (OpenRouter), whose ``output`` may be empty (ChatGPT).
- Arguments or a text may come only in the last event (LM Studio); an item may end after the next one (OpenRouter).
- The stream ends with ``response.completed``, ``response.incomplete`` or ``response.failed``; ``[DONE]`` does not end
  it.
- An error is an event ``error``, flat or with an error object, or ``response.failed``.
- No finish reason reports a tool call; it follows from the items.

The ``id`` of our tool call is the wire's ``call_id``; the item's id is in the metadata. The metadata of a text has the
unknown fields of its part (and ``type`` for a refusal), with the fields of its item under ``item``. The metadata of
every other part is the whole item.
"""

from llm.dialects.base import REQUEST_ID, AnswerForms, get_http_status
from llm.dialects.openai_common import CLIENT_HEADERS, write_error, write_models
from llm.dialects.openai_responses.client_items import WebRuns
from llm.dialects.openai_responses.client_request import read_request
from llm.dialects.openai_responses.client_response import KeptFields, create_writer, write_reply
from llm.dialects.openai_responses.engine_errors import read_error
from llm.dialects.openai_responses.engine_models import list_models
from llm.dialects.openai_responses.engine_request import TOOL_NAMES, write_request
from llm.dialects.openai_responses.engine_response import create_framing, create_reader, read_reply
from llm.dialects.openai_responses.passthrough import (
    create_repair,
    find_unconvertible_field,
    is_only_usage,
    passthrough_request,
)
from llm.dialects.openai_responses.shared import NAME
from llm.dialects.stream_repair import keep_document as repair_document

ANSWER_FORMS = AnswerForms(media=("image",), citations=True, web_stage=WebRuns)
ARGUMENTS_ARE_VALUES = False

__all__ = [
    "ANSWER_FORMS",
    "ARGUMENTS_ARE_VALUES",
    "CLIENT_HEADERS",
    "NAME",
    "REQUEST_ID",
    "TOOL_NAMES",
    "KeptFields",
    "create_framing",
    "create_reader",
    "create_repair",
    "create_writer",
    "find_unconvertible_field",
    "get_http_status",
    "is_only_usage",
    "list_models",
    "passthrough_request",
    "read_error",
    "read_reply",
    "read_request",
    "repair_document",
    "write_error",
    "write_models",
    "write_reply",
    "write_request",
]
