"""Towards an engine: requests as bodies of ``/api/chat``, its lines as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llm.chat.history import only_text
from llm.chat.messages import Foreign, Media, Message, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import opaque_for
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.base import Outgoing
from llm.dialects.losses import lost_fields, unknown_block
from llm.dialects.ollama.engine_options import refusal, write_options
from llm.dialects.ollama.shared import NAME
from llm.engines.engine import Engine
from llm.engines.options import over
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, loads
from llm.wire.schema_refs import step
from llm.wire.schema_subset import inlined, told

PATH: Final = "/api/chat"
_GENERATE: Final = "/api/generate"
_NO_PARAMETERS: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}
_MESSAGE: Final = ("role", "content", "thinking", "tool_calls", "images")


def write_request(request: ChatRequest, engine: Engine) -> Outgoing:
    """Raises ``Unsupported`` naming the option or the part."""
    dropped = [*lost_fields(request, NAME)]
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    messages: list[Json] = []
    for message in request.messages:
        messages += _write_message(message, engine, names, dropped)
    own = opaque_for(request.keep, NAME, engine.issuer)
    options = write_options(request, engine, dropped)
    if "options" in own:
        options["options"] = over(own["options"], options.get("options") or {})
    body: dict[str, Json] = {
        **own,
        "model": request.model,
        "messages": messages,
        "stream": request.stream,
        **options,
    }
    if request.tools and request.options.tool_choice != "none":
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": _parameters(tool, dropped),
                },
            }
            for tool in request.tools
        ]
    return Outgoing(path=PATH, body=body, dropped=tuple(dict.fromkeys(dropped)))


def verbatim(body: Mapping[str, Any], model: str, engine: Engine) -> Outgoing:
    """A client's own body; usage is always told here."""
    return Outgoing(path=PATH if "messages" in body else _GENERATE, body={**body, "model": model})


def only_usage(frame: Frame) -> bool:
    return False


def _parameters(tool: ToolSpec, dropped: list[str]) -> Json:
    """Without references: the server puts what it knows of a schema before the model, and knows none."""
    if tool.wire in (None, NAME):
        return dict(tool.parameters or _NO_PARAMETERS)
    place = step("tools", tool.name)
    whole = inlined(tool.parameters or _NO_PARAMETERS, place)
    dropped += told(place, whole.lost)
    return whole.schema


def _write_message(message: Message, engine: Engine, names: Mapping[str, str], dropped: list[str]) -> list[Json]:
    texts, images, calls, thoughts = [], list[Json](), list[Json](), []
    results: list[Json] = []
    for part in only_text(message).parts:
        match part:
            case Text(text):
                texts.append(text)
            case Reasoning(text):
                thoughts.append(text)
            case Media() if part.kind == "image" and part.base64 is not None and message.role == "user":
                images.append(part.base64)
            case ToolCall(id, name, arguments):
                calls.append({"id": id, "function": {"name": name, "arguments": _arguments(arguments)}})
            case ToolResult(call_id, content, failed):
                if failed:
                    dropped.append("is_error")
                for one in content:
                    if isinstance(one, Foreign):
                        raise unknown_block(one, engine, " in a tool result")
                text = "".join(one.text for one in content if isinstance(one, Text))
                name = part.name or names.get(call_id, "")
                results.append({"role": "tool", "tool_name": name, "tool_call_id": call_id, "content": text})
            case _ if message.role == "assistant":
                dropped.append("foreign block")
            case Foreign():
                raise unknown_block(part, engine)
            case _:
                raise refusal(engine, "messages", "takes only text and pictures as base64")
    wire: dict[str, Json] = {"role": message.role, "content": "".join(_apart(texts, message.role))}
    if thoughts and calls:  # a model that thinks between calls wants its thought back
        wire["thinking"] = "".join(thoughts)
    if images:
        wire["images"] = images
    if calls:
        wire["tool_calls"] = calls
    plain = texts or images or calls or not results
    return [*results, wire] if plain else results


def _apart(texts: Iterable[str], role: str) -> Iterator[str]:
    """What a model said goes on where it stopped; blocks of a question or of a system prompt are paragraphs."""
    for number, text in enumerate(texts):
        if number and role != "assistant" and not text.startswith("\n\n"):
            yield "\n\n"
        yield text


def _arguments(text: str) -> Json:
    """An object, whatever the model wrote."""
    try:
        value: Json = loads(text or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"value": value}
