"""Reads requests of native clients."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from llm.chat.messages import Media, Message, Part, Role, Text
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import NO_OPTIONS, ChatRequest, Effort, JsonFormat, Options
from llm.dialects.native.shared import NAME, OPTION_NAMES
from llm.engines.media_limits import detect_image_type
from llm.errors import InvalidRequest
from llm.wire.json_lenient import as_list, as_text

# Types of attachments that are sent as media; the engine's record limits them further.
_MEDIA_TYPES: Final = re.compile(
    r"(image|audio|video)/[a-z0-9.+-]+|application/(pdf|msword|rtf|epub\+zip|vnd\.(ms-|openxmlformats-|oasis\.)[a-z.-]+)"
)
# Types that are sent as text, besides text/*.
_TEXT_TYPES: Final = re.compile(
    r"application/(json|ld\+json|xml|xhtml\+xml|(x-)?yaml|toml|javascript|x-javascript|typescript|x-sh|sql|graphql|x-[a-z+.-]*script)"
)


def read_request(body: Mapping[str, Any], default_system: Message | None = None) -> ChatRequest:
    """Reads a body that is valid by ``schemas/llm.chat.json``.

    ``default_system`` is used if the body has no system message. Raises ``InvalidRequest`` with the field's path.
    """
    messages = [read_message(wire, f"messages[{n}]") for n, wire in enumerate(body.get("messages") or ())]
    instructions = body.get("instructions")
    if instructions is not None:
        default_system = Message("system", (Text(instructions),))
    elif any(message.role == "system" for message in messages):
        default_system = None
    if default_system is not None:
        messages.insert(0, default_system)
    prompt = (Text(body["prompt"]), *_read_attachments(body, ""))
    messages.append(Message("user", prompt))
    stream = body.get("stream")
    return ChatRequest(
        model=body["model"],
        messages=tuple(messages),
        options=read_options(body.get("options") or {}),
        option_names=OPTION_NAMES,
        stream=True if stream is None else stream,
    )


def read_message(wire: Mapping[str, Any], place: str) -> Message:
    """Reads one message. Raises ``InvalidRequest`` with the path, which begins with ``place``."""
    role: Role = wire["role"]
    parts: list[Part] = []
    if content := wire.get("content"):
        parts.append(Text(content))
    attachments = _read_attachments(wire, f"{place}.")
    if attachments and role != "user":
        raise InvalidRequest(f"{place}: only user messages can have attachments", param=place)
    parts += attachments
    return Message(role, tuple(parts))


def _read_attachments(wire: Mapping[str, Any], place: str) -> tuple[Part, ...]:
    if "attachment" not in wire and "attachments" not in wire:
        return ()
    items = []
    if "attachment" in wire:
        items.append((wire["attachment"], f"{place}attachment"))
    items += [(item, f"{place}attachments[{n}]") for n, item in enumerate(as_list(wire.get("attachments")))]
    return tuple(_read_attachment(item, path) for item, path in items if item is not None)


def _read_attachment(wire: Any, place: str) -> Part:
    if not isinstance(wire, Mapping):  # possible in threads of the older server, which no schema has checked
        raise InvalidRequest(f"{place}: must be an object", param=place)
    contents = wire.get("contents", wire.get("content"))
    if not isinstance(contents, str) or not contents:
        raise InvalidRequest(f"{place}.contents: must be a string that is not empty", param=f"{place}.contents")
    declared, contents = _split_data_url(contents)
    mime = str(wire.get("mimeType") or declared).partition(";")[0].strip().lower()
    mime = {"image/jpg": "image/jpeg"}.get(mime, mime)
    title = as_text(wire.get("title")) or None
    if mime.startswith("text/") or _TEXT_TYPES.fullmatch(mime):
        fields = {"mimeType": mime, "title": title} if title else {"mimeType": mime}
        return Text(f"\n\n{_decode_text(contents, declared, place)}", metadata=(ProviderMetadata(NAME, NAME, fields),))
    if not _MEDIA_TYPES.fullmatch(mime):
        raise InvalidRequest(
            f"{place}.mimeType: {mime[:60]!r} is not supported as an attachment", param=f"{place}.mimeType"
        )
    contents = "".join(contents.split())
    _decode_base64(contents, place)
    if mime.startswith("image/"):  # providers refuse an image whose declared type is wrong
        mime = detect_image_type(contents) or mime
    return Media(mime=mime, base64=contents, name=title)


def _decode_text(contents: str, declared: str, place: str) -> str:
    if not declared.endswith(";base64"):
        return contents
    try:
        return _decode_base64(contents, place).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{place}.contents: must be UTF-8", param=f"{place}.contents") from None


def _split_data_url(contents: str) -> tuple[str, str]:
    """Splits ``data:image/png;base64,AAAA`` into ``("image/png;base64", "AAAA")``."""
    if not contents.startswith("data:"):
        return "", contents
    head, comma, rest = contents[5:].partition(",")
    return (head, rest) if comma else ("", contents)


def _decode_base64(contents: str, place: str) -> bytes:
    try:
        return base64.b64decode(contents, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{place}.contents: must be base64", param=f"{place}.contents") from None


def read_options(wire: Mapping[str, Any]) -> Options:
    """Reads ``options`` of a request that is valid by the schema. Raises ``InvalidRequest`` for an unknown effort."""
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
    return JsonFormat(wire["schema"], wire.get("name") or "reply", True, schema_dialect=NAME) if wire else None


def _read_tool_choice(wire: Mapping[str, Any] | None) -> str | None:
    if wire is None:
        return None
    if wire["type"] != "tool":
        return str(wire["type"])
    if not wire.get("name"):
        raise InvalidRequest("options.toolChoice.name: is required with type 'tool'", param="options.toolChoice.name")
    return f"tool:{wire['name']}"
