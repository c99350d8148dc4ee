"""Fields that OpenAI's two APIs share, for requests and answers that cross from one to the other.

Sources: the request types of both APIs in OpenAI's client for Python, version 3.57.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

from llm.chat.messages import Media, Message, Part, Text, ToolResult
from llm.chat.provider_metadata import Metadata, ProviderMetadata, metadata_for_client
from llm.chat.request import ChatRequest
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_dict

CHAT: Final = "openai-chat"
RESPONSES: Final = "openai-responses"

# Top-level fields with the same name and meaning in both APIs.
_SHARED: Final = frozenset({
    "metadata", "moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "safety_identifier", "user",
})  # fmt: skip
_STREAM_OPTIONS: Final = ("include_obfuscation",)  # those that both APIs have
_MESSAGE_FIELDS: Final = frozenset({"role"})  # developer
_PART_FIELDS: Final = frozenset({"prompt_cache_breakpoint"})  # of text, pictures and files in the input


def move_chat_fields(request: ChatRequest) -> ChatRequest:
    """Returns the request of a Chat Completions client with its shared fields as fields of the Responses API.

    Fields that only Chat Completions has stay its own.
    """
    metadata = _move_top_level(request.metadata)
    messages = request.messages
    if any(_has_chat_fields(message) for message in messages):
        messages = tuple(_move_in_message(message) for message in messages)
    if metadata is request.metadata and messages is request.messages:
        return request
    return replace(request, metadata=metadata, messages=messages)


def move_responses_fields(request: ChatRequest, known: frozenset[str]) -> ChatRequest:
    """Returns the request of a Responses client with those shared fields that a host of Chat Completions knows."""
    moved: dict[str, Json] = {}
    rest: list[ProviderMetadata] = []
    for opaque in request.metadata:
        if opaque.dialect == RESPONSES and opaque.issuer is None:
            moved |= {name: value for name, value in opaque.data.items() if name in known & _SHARED}
            opaque = replace(opaque, data={n: v for n, v in opaque.data.items() if n not in moved})
        rest.append(opaque)
    return replace(request, metadata=(*rest, ProviderMetadata(CHAT, None, moved))) if moved else request


def read_answer_fields(metadata: Metadata) -> dict[str, Json]:
    """Returns the fields of a response that a Chat Completions answer has too: the service tier and the moderation.

    Chat Completions has a list of results where the other API has one result.
    """
    response = metadata_for_client(metadata, RESPONSES)
    fields = {name: response[name] for name in ("service_tier",) if response.get(name) is not None}
    if moderation := as_dict(response.get("moderation")):
        fields["moderation"] = {name: _write_moderation(value) for name, value in moderation.items()}
    return fields


def _write_moderation(value: Any) -> Json:
    result = as_dict(value)
    if result.get("type") != "moderation_result":
        return cast("Json", value)
    return {"type": "moderation_results", "model": result.get("model"), "results": [dict(result)]}


def _move_top_level(metadata: Metadata) -> Metadata:
    moved: dict[str, Json] = {}
    rest: list[ProviderMetadata] = []
    for opaque in metadata:
        if opaque.dialect != CHAT or opaque.issuer is not None:
            rest.append(opaque)
            continue
        own: dict[str, Json] = {}
        for name, value in opaque.data.items():
            if name in _SHARED:
                moved[name] = value
            elif name == "stream_options":
                options = as_dict(value)
                if shared := {option: options[option] for option in _STREAM_OPTIONS if option in options}:
                    moved[name] = shared
                if options.keys() - {*_STREAM_OPTIONS, "include_usage"}:
                    own[name] = value
            else:
                own[name] = value
        if own:
            rest.append(replace(opaque, data=own))
    return (*rest, ProviderMetadata(RESPONSES, None, moved)) if moved else metadata


def _has_chat_fields(message: Message) -> bool:
    return message.role != "assistant" and any(
        message.metadata
        or part.metadata
        or (isinstance(part, ToolResult) and any(inner.metadata for inner in part.content))
        for part in message.parts
    )


def _move_in_message(message: Message) -> Message:
    if message.role == "assistant":  # the text of an answer has none of these fields
        return message
    metadata = _move_some_fields(message.metadata, _MESSAGE_FIELDS)
    return replace(message, parts=tuple(_move_in_part(part) for part in message.parts), metadata=metadata)


def _move_in_part(part: Part) -> Part:
    match part:
        case Text() | Media():
            return replace(part, metadata=_move_some_fields(part.metadata, _PART_FIELDS))
        case ToolResult():
            content = tuple(
                replace(inner, metadata=_move_some_fields(inner.metadata, _PART_FIELDS))
                if isinstance(inner, Text | Media)
                else inner
                for inner in part.content
            )
            return replace(part, content=content)
    return part


def _move_some_fields(metadata: Metadata, shared: frozenset[str]) -> Metadata:
    moved: dict[str, Json] = {}
    rest: list[ProviderMetadata] = []
    for opaque in metadata:
        if opaque.dialect != CHAT or opaque.issuer is not None:
            rest.append(opaque)
            continue
        own = dict(opaque.data)
        for name in shared & own.keys():
            moved[name] = own.pop(name)
        picture = dict(as_dict(own.pop("image_url", None)))
        if (detail := picture.pop("detail", None)) is not None:
            moved["detail"] = detail
        if picture:
            own["image_url"] = picture
        rest.append(replace(opaque, data=own))
    return (*rest, ProviderMetadata(RESPONSES, None, moved)) if moved else metadata
