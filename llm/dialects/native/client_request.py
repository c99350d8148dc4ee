"""Requests of native clients."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from llm.chat.messages import Media, Message, Part, Role, Text
from llm.chat.provider_metadata import Opaque
from llm.chat.request import NO_OPTIONS, ChatRequest, Effort, JsonFormat, Options
from llm.dialects.native.shared import NAME
from llm.engines.media_limits import image_type
from llm.errors import InvalidRequest
from llm.wire.json_lenient import list_of, text_of

# Which of them an engine takes is told by its record.
_MEDIA_TYPES: Final = re.compile(
    r"(image|audio|video)/[a-z0-9.+-]+|application/(pdf|msword|rtf|epub\+zip|vnd\.(ms-|openxmlformats-|oasis\.)[a-z.-]+)"
)
# Beside text/*: what is text although its name does not say so.
_TEXT_TYPES: Final = re.compile(
    r"application/(json|ld\+json|xml|xhtml\+xml|(x-)?yaml|toml|javascript|x-javascript|typescript|x-sh|sql|graphql|x-[a-z+.-]*script)"
)


def read_request(body: Mapping[str, Any], system: Message | None = None) -> ChatRequest:
    """A body that ``schemas/llm.chat.json`` has accepted, with a system message where it brings none of its own.

    Raises ``InvalidRequest`` naming the place.
    """
    messages = [read_message(wire, f"messages[{n}]") for n, wire in enumerate(body.get("messages") or ())]
    instructions = body.get("instructions")
    if instructions is not None:
        system = Message("system", (Text(instructions),))
    elif any(message.role == "system" for message in messages):
        system = None
    if system is not None:
        messages.insert(0, system)
    prompt = (Text(body["prompt"]), *_read_attachments(body, ""))
    messages.append(Message("user", prompt))
    stream = body.get("stream")
    return ChatRequest(
        model=body["model"],
        messages=tuple(messages),
        options=read_options(body.get("options") or {}),
        stream=True if stream is None else stream,
    )


def read_message(wire: Mapping[str, Any], place: str) -> Message:
    role: Role = wire["role"]
    parts: list[Part] = []
    if content := wire.get("content"):
        parts.append(Text(content))
    attachments = _read_attachments(wire, f"{place}.")
    if attachments and role != "user":
        raise InvalidRequest(f"{place}: only a user message can have attachments", param=place)
    parts += attachments
    return Message(role, tuple(parts))


def _read_attachments(wire: Mapping[str, Any], place: str) -> tuple[Part, ...]:
    if "attachment" not in wire and "attachments" not in wire:
        return ()
    given = []
    if "attachment" in wire:
        given.append((wire["attachment"], f"{place}attachment"))
    given += [(item, f"{place}attachments[{n}]") for n, item in enumerate(list_of(wire.get("attachments")))]
    return tuple(_read_attachment(item, where) for item, where in given if item is not None)


def _read_attachment(wire: Any, place: str) -> Part:
    if not isinstance(wire, Mapping):  # a client's body was checked, a thread of the older server was not
        raise InvalidRequest(f"{place}: is no object", param=place)
    contents = wire.get("contents", wire.get("content"))
    if not isinstance(contents, str) or not contents:
        raise InvalidRequest(f"{place}.contents: is required, as text", param=f"{place}.contents")
    declared, contents = _without_data_prefix(contents)
    mime = str(wire.get("mimeType") or declared).partition(";")[0].strip().lower()
    mime = {"image/jpg": "image/jpeg"}.get(mime, mime)
    title = text_of(wire.get("title")) or None
    if mime.startswith("text/") or _TEXT_TYPES.fullmatch(mime):
        about = {"mimeType": mime, "title": title} if title else {"mimeType": mime}
        return Text(f"\n\n{_text_of(contents, declared, place)}", keep=(Opaque(NAME, NAME, about),))
    if not _MEDIA_TYPES.fullmatch(mime):
        raise InvalidRequest(
            f"{place}.mimeType: {mime[:60]!r} cannot be used as an attachment", param=f"{place}.mimeType"
        )
    contents = "".join(contents.split())
    _decoded(contents, place)
    if mime.startswith("image/"):  # every provider refuses one type under another's name
        mime = image_type(contents) or mime
    return Media(mime=mime, base64=contents, name=title)


def _text_of(contents: str, declared: str, place: str) -> str:
    if not declared.endswith(";base64"):
        return contents
    try:
        return _decoded(contents, place).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{place}.contents: is not UTF-8", param=f"{place}.contents") from None


def _without_data_prefix(contents: str) -> tuple[str, str]:
    """``data:image/png;base64,AAAA`` to ``("image/png;base64", "AAAA")``."""
    if not contents.startswith("data:"):
        return "", contents
    head, comma, rest = contents[5:].partition(",")
    return (head, rest) if comma else ("", contents)


def _decoded(contents: str, place: str) -> bytes:
    try:
        return base64.b64decode(contents, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{place}.contents: is not base64", param=f"{place}.contents") from None


def read_options(wire: Mapping[str, Any]) -> Options:
    """``options`` of a request, whose types the schema has checked."""
    if not wire:
        return NO_OPTIONS
    budget = wire.get("reasoningBudget", wire.get("thinkingBudget"))
    think = wire.get("think")
    effort = wire.get("reasoningEffort")
    if isinstance(think, str):
        effort, think = effort or think, None
    if effort is not None and effort not in get_args(Effort):
        raise InvalidRequest(f"options.reasoningEffort: {effort!r} is not one of {', '.join(get_args(Effort))}")
    stop = wire.get("stop")
    reasoning = wire.get("reasoning")
    return Options(
        max_tokens=wire.get("maxTokens"),
        temperature=wire.get("temperature"),
        top_p=wire.get("top_p"),
        top_k=wire.get("top_k"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        seed=wire.get("seed"),
        reasoning=think if reasoning is None else reasoning,
        effort=effort,
        reasoning_tokens=budget,
        verbosity=wire.get("verbosity"),
        format=_read_format(wire.get("structuredOutput")),
        tool_choice=_read_tool_choice(wire.get("toolChoice")),
        logprobs=wire.get("logprobs"),
        top_logprobs=wire.get("top_logprobs"),
        service_tier=wire.get("serviceTier"),
        caching=wire.get("caching"),
        citations=wire.get("citations"),
        context_tokens=wire.get("contextWindowSize"),
        responses_api=wire.get("useResponsesApi"),
        extra=wire.get("customOpts") or {},
    )


def _read_format(wire: Mapping[str, Any] | None) -> JsonFormat | None:
    return JsonFormat(wire["schema"], wire.get("name") or "reply", True, wire=NAME) if wire else None


def _read_tool_choice(wire: Mapping[str, Any] | None) -> str | None:
    if wire is None:
        return None
    if wire["type"] != "tool":
        return str(wire["type"])
    if not wire.get("name"):
        raise InvalidRequest("options.toolChoice.name: is required with type 'tool'", param="options.toolChoice.name")
    return f"tool:{wire['name']}"
