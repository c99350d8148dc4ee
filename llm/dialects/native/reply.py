"""A whole answer as one object, and what its parts look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from llm.chat import ChatRequest, Foreign, Media, Message, Part, Ran, Text, ToolCall, ToolResult, Usage
from llm.codec import loads
from llm.dialects.native.names import NAME
from llm.events import FinishReason, Reply
from llm.opaque import Json, opaque_to_client

FINISH: Final[Mapping[FinishReason, str]] = {"filtered": "content_filter"}


def read_arguments(text: str) -> Json:
    """A call's arguments as a value; the text itself where a model wrote broken JSON."""
    try:
        value: Json = loads(text or "{}")
    except ValueError:
        return text
    return value


def result_json(result: ToolResult) -> Json:
    text = "".join(part.text for part in result.content if isinstance(part, Text))
    try:
        value: Json = loads(text)
    except ValueError:
        return text
    return value


def call_json(call: ToolCall, result: Json) -> Json:
    return {"id": call.id, "name": call.name, "params": read_arguments(call.arguments), "result": result}


def ran_in(part: Part) -> Ran | None:
    """A tool that the provider ran, where a part tells of one or of its result."""
    return part.ran if isinstance(part, ToolCall | Foreign | Media) else None


def _calls_json(parts: Sequence[Part]) -> Iterator[Json]:
    results = {part.call_id: result_json(part) for part in parts if isinstance(part, ToolResult)}
    results |= {ran.id: ran.result for part in parts if (ran := ran_in(part)) is not None and ran.result is not None}
    for part in parts:
        if isinstance(part, ToolCall):
            yield call_json(part, results.get(part.id))
        elif (ran := ran_in(part)) is not None and ran.name:
            yield call_json(ToolCall(ran.id, ran.name, ran.arguments), results.get(ran.id))


def citations_json(message: Message) -> list[Json]:
    cited = (citation for part in message.parts if isinstance(part, Text) for citation in part.citations)
    return [{"url": one.url, "title": one.title, "text": one.quote} for one in cited]


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    parts = reply.message.parts
    wire: dict[str, Json] = {"type": "text", "content": reply.text}
    if reply.reasoning:
        wire["reasoning"] = reply.reasoning
    if images := [part for part in parts if isinstance(part, Media) and part.base64]:
        wire["attachments"] = [{"mimeType": image.mime, "contents": image.base64} for image in images]
    if citations := citations_json(reply.message):
        wire["citations"] = citations
    wire["toolCalls"] = [*_calls_json(parts)]
    wire["usage"] = write_usage(reply.usage)
    wire["finishReason"] = FINISH.get(reply.finish.reason, reply.finish.reason)
    return {**wire, **opaque_to_client(reply.finish.keep, NAME)}


def write_usage(usage: Usage) -> dict[str, Json]:
    """The same arithmetic for every provider: totals outside, the parts of them in the details."""
    prompt: dict[str, Json] = {"cached_tokens": usage.cache_read}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    wire: dict[str, Json] = {
        "prompt_tokens": usage.input or 0,
        "completion_tokens": usage.output or 0,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if usage.estimated:
        wire["estimated"] = True
    return wire
