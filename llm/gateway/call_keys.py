"""Keys by which a tool call is found again in a later request: its place in the conversation, its id, its reasoning.

Clients change what they send back: some drop ids, some replace those of other providers, some drop or cut reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from llm.chat.messages import Media, Message, Text, ToolCall, ToolResult
from llm.chat.request import ChatRequest
from llm.wire.json_codec import Json, dump_bytes, loads

_LENGTH: Final = 32  # hexadecimal digits of a digest
_SAMPLE: Final = 1024  # characters at each end of a file that stand for it


def digest_prefixes(request: ChatRequest) -> Sequence[str]:
    """Returns a digest of tools and messages before each message, and one of them all.

    Equal if system prompt, tools, texts, calls and results are equal. Ids, reasoning and provider metadata do not
    count: clients replace or drop them, and move cache marks.
    """
    digest = sha256()  # processors have instructions for it
    tools: list[Json] = [[tool.name, tool.description, dict(tool.parameters)] for tool in request.tools]
    digest.update(dump_bytes(tools))
    digests = [digest.hexdigest()[:_LENGTH]]
    for message in request.messages:
        digest.update(f"\0{message.role}\0".encode())
        digest.update("".join(_sample(message)).encode(errors="replace"))
        digests.append(digest.hexdigest()[:_LENGTH])
    return digests


def has_calls(request: ChatRequest) -> bool:
    """Returns True if a message has a tool call."""
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                return True
    return False


def _sample(message: Message) -> list[str]:
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    for part in message.parts:
        match part:
            case ToolCall():
                texts.append(f"\0call\0{part.name}\0{part.arguments}")
            case ToolResult():
                texts.append("\0result\0")
                texts += [one.text for one in part.content if isinstance(one, Text)]
            case Media():
                source = part.base64 or part.url or part.file_id or ""
                texts.append(f"\0{part.mime}\0{len(source)}\0{source[:_SAMPLE]}\0{source[-_SAMPLE:]}")
    return texts


def make_call_keys(call: ToolCall, reasoning_text: str, number: int, prefix: str = "") -> Sequence[str]:
    """Returns the keys of a call, the most exact first, its id last.

    ``reasoning_text``: all reasoning of its answer. ``number``: index of the call among the calls of its answer.
    ``prefix``: the digest of the conversation before its answer, or "".
    """
    try:
        name_and_arguments = dump_bytes(
            [call.name, _sort_fields(loads(call.arguments or "{}"))]
        )  # same for any spelling
    except (ValueError, RecursionError):
        name_and_arguments = dump_bytes([call.name, call.arguments])
    own = sha256(name_and_arguments).hexdigest()
    keys = [f"\0{prefix}\0{number}\0{own}"] if prefix else []
    keys.append(f"{call.id}\0{own}")
    if reasoning_text:
        keys.append(f"\0{number}\0{sha256(name_and_arguments + reasoning_text.encode(errors='replace')).hexdigest()}")
    return (*keys, call.id)


def _sort_fields(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _sort_fields(value[name]) for name in sorted(value)}
    return [_sort_fields(item) for item in value] if isinstance(value, list) else value
