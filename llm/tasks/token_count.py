"""Token counts of a request before it is sent, by the three providers that have an API for it.

Wire references: https://docs.anthropic.com/en/api/messages-count-tokens, https://ai.google.dev/api/tokens,
https://platform.openai.com/docs/api-reference/responses/input-tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from llm.dialects import gemini
from llm.dialects.base import EngineRequest
from llm.errors import Malformed
from llm.wire.json_codec import Json

# Fields of a chat request that these APIs accept.
_ANTHROPIC_FIELDS: Final = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "mcp_servers",
)
_INNER: Final = ("generateContentRequest", "generate_content_request")  # the whole request, in a client's of Gemini
_RESPONSES_FIELDS: Final = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation",
)  # fmt: skip


def write_request(chat: EngineRequest, dialect: str) -> EngineRequest:
    """Turns a chat request written by ``dialect`` into the request for its token count."""
    return _WRITERS[dialect](chat)


def passthrough_request(body: Mapping[str, Any], model: str, dialect: str) -> EngineRequest:
    """Returns a client's own count request, of Anthropic, Gemini or Responses, with the engine's name of the model."""
    if dialect == gemini.NAME:
        path = gemini.write_model_path(model)
        inner = {name: {**body[name], "model": path} for name in _INNER if isinstance(body.get(name), dict)}
        return EngineRequest(path=f"/v1beta/{path}:countTokens", body={**body, **inner})
    path = "/responses/input_tokens" if dialect == _RESPONSES else f"{_MESSAGES}/count_tokens"
    return EngineRequest(path=path, body={**body, "model": model})


def read_reply(wire: Any) -> int:
    """Reads the number of tokens. Raises ``Malformed`` if there is none."""
    fields = wire if isinstance(wire, dict) else {}
    count = fields.get("input_tokens", fields.get("totalTokens"))
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise Malformed("The engine's answer has no number of tokens.")
    return count


def read_fields(wire: Any) -> dict[str, Json]:
    """Returns all fields of an answer. Raises ``Malformed`` if it has no number of tokens."""
    read_reply(wire)
    return dict(wire)


_MESSAGES: Final = "/v1/messages"
_RESPONSES: Final = "openai-responses"


def _write_anthropic(chat: EngineRequest) -> EngineRequest:
    return replace(chat, path=f"{_MESSAGES}/count_tokens", body=_select_fields(chat, _ANTHROPIC_FIELDS))


def _write_gemini(chat: EngineRequest) -> EngineRequest:
    address, _, _ = chat.path.rpartition(":")
    model = address.partition("/v1beta/")[2]
    return replace(
        chat, path=f"{address}:countTokens", body={"generateContentRequest": {"model": model, **_body(chat)}}
    )


def _write_responses(chat: EngineRequest) -> EngineRequest:
    return replace(chat, path=f"{chat.path}/input_tokens", body=_select_fields(chat, _RESPONSES_FIELDS))


_WRITERS: Final[Mapping[str, Callable[[EngineRequest], EngineRequest]]] = {
    "anthropic": _write_anthropic,
    "gemini": _write_gemini,
    "openai-responses": _write_responses,
}


def _body(chat: EngineRequest) -> dict[str, Any]:
    return dict(chat.body or {})


def _select_fields(chat: EngineRequest, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in _body(chat).items() if name in names}
