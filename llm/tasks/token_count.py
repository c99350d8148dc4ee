"""How many tokens a request would have, asked of the provider, over the three wires that tell.

Wires: https://docs.anthropic.com/en/api/messages-count-tokens, https://ai.google.dev/api/tokens,
https://platform.openai.com/docs/api-reference/responses/input-tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from llm.dialects.base import Outgoing
from llm.errors import Malformed
from llm.wire.json_codec import Json

# Of a chat's fields, those that count and that are not refused there.
_ANTHROPIC: Final = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "mcp_servers")
_RESPONSES: Final = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation",
)  # fmt: skip


def write_request(chat: Outgoing, dialect: str) -> Outgoing:
    """The question about a chat, made of that chat as ``dialect`` would send it."""
    return _WRITERS[dialect](chat)


def verbatim(body: Mapping[str, Json], model: str) -> Outgoing:
    """A client's own question, in the words of Anthropic's wire."""
    return Outgoing(path=f"{_MESSAGES}/count_tokens", body={**body, "model": model})


def read_reply(wire: Any) -> int:
    """Raises ``Malformed`` where no number is told."""
    told = wire if isinstance(wire, dict) else {}
    count = told.get("input_tokens", told.get("totalTokens"))
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise Malformed("The engine's answer tells no number of tokens.")
    return count


_MESSAGES: Final = "/v1/messages"


def _anthropic(chat: Outgoing) -> Outgoing:
    return replace(chat, path=f"{_MESSAGES}/count_tokens", body=_only(chat, _ANTHROPIC))


def _gemini(chat: Outgoing) -> Outgoing:
    address, _, _ = chat.path.rpartition(":")
    model = address.partition("/v1beta/")[2]
    return replace(
        chat, path=f"{address}:countTokens", body={"generateContentRequest": {"model": model, **_body(chat)}}
    )


def _responses(chat: Outgoing) -> Outgoing:
    return replace(chat, path=f"{chat.path}/input_tokens", body=_only(chat, _RESPONSES))


_WRITERS: Final[Mapping[str, Callable[[Outgoing], Outgoing]]] = {
    "anthropic": _anthropic,
    "gemini": _gemini,
    "openai-responses": _responses,
}


def _body(chat: Outgoing) -> dict[str, Any]:
    return dict(chat.body or {})


def _only(chat: Outgoing, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in _body(chat).items() if name in names}
