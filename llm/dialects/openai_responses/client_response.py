"""Towards a client: events as the events of a response, and whole responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from secrets import token_hex
from typing import Final

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    FinishReason,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
    ended_badly,
)
from llm.chat.filters import InOrder
from llm.chat.messages import Citation, Media, Usage
from llm.chat.provider_metadata import Keep, opaque_to_client, seal
from llm.chat.reply import Reply, replay
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.openai_common import write_error
from llm.dialects.openai_responses.shared import NAME, names_of
from llm.errors import LLMError
from llm.wire.json_codec import Json, dump_bytes, dump_text
from llm.wire.json_lenient import dict_of, text_of
from llm.wire.sse import sse

# Why an answer is not complete; whatever is not here is a normal end.
_INCOMPLETE: Final[Mapping[FinishReason, str]] = {"length": "max_output_tokens", "filtered": "content_filter"}


def writer(request: ChatRequest, now: int) -> ResponseWriter:
    return ResponseWriter(request, now)


def write_reply(reply: Reply, request: ChatRequest, now: int) -> dict[str, Json]:
    """The response in the last event of the same answer, had it been streamed.

    Raises ``EngineFailed`` for an answer that ended with an error.
    """
    if reply.finish.reason == "error":
        raise ended_badly(reply.finish)
    written = ResponseWriter(request, now)
    written.feed([*replay(reply)])
    return written.response(*_status(reply.finish.reason))


def _status(reason: FinishReason) -> tuple[str, str | None]:
    why = _INCOMPLETE.get(reason)
    return ("incomplete" if why else "completed"), why


class ResponseWriter:
    """The events of one response, numbered without a gap; its items one after the other."""

    content_type = "text/event-stream"
    spacing = 0.0

    def __init__(self, request: ChatRequest, now: int) -> None:
        self._request = replace(request, messages=())  # which may be large
        self._now = now
        self._in_order = InOrder()
        self._number = 0
        self._id = f"resp_{token_hex(16)}"
        self._model = ""
        self._usage = Usage()
        self._item: _Open | None = None
        self._output: list[Json] = []
        self._names = {tool.name: names_of(tool) for tool in request.tools}

    def feed(self, batch: Sequence[Event]) -> list[bytes]:
        out = b"".join([piece for event in self._in_order.feed(batch) for piece in self._pieces(event)])
        return [out] if out else []

    def ping(self) -> bytes:
        return b": ping\n\n"

    def response(self, status: str, why: str | None = None, error: Json = None) -> dict[str, Json]:
        request, options = self._request, self._request.options
        format_: dict[str, Json] = {"type": "text"}
        if options.format is not None:
            format_ = {"type": "json_object"}
            if (schema := options.format.schema) is not None:
                format_ = {"type": "json_schema", "name": options.format.name, "schema": dict(schema)}
                format_["strict"] = bool(options.format.strict)
        tools = [_tool(tool) for tool in request.tools if tool.executor == "client"]
        ended = status in ("completed", "incomplete")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._now,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": why} if why else None,
            "instructions": None,
            "max_output_tokens": options.max_tokens,
            "model": self._model or request.model,
            "output": [*self._output],
            "parallel_tool_calls": options.parallel_tools is not False,
            "previous_response_id": None,
            "reasoning": {"effort": options.effort, "summary": None},
            "service_tier": options.service_tier,
            "store": False,
            "temperature": options.temperature,
            "text": {"format": format_},
            "tool_choice": _choice(options.tool_choice),
            "tools": [*tools],
            "top_p": options.top_p,
            "truncation": "disabled",
            "usage": _usage(self._usage) if ended else None,
            "user": None,
            "metadata": {},
        }

    def _pieces(self, event: Event) -> Iterator[bytes]:
        match event:
            case TextDelta(_, text):
                yield from self._opened("message")
                yield from self._section("content_part", "content_index")
                if text:
                    yield self._piece("response.output_text.delta", text)
            case ReasoningDelta(_, text):
                yield from self._opened("reasoning")
                if text:
                    yield from self._section("reasoning_summary_part", "summary_index")
                    yield self._piece("response.reasoning_summary_text.delta", text)
            case ToolCallStarted(_, id, name, "client"):
                yield from self._opened("function_call", {"call_id": id, **self._names.get(name, {"name": name})})
            case ToolCallDelta(_, arguments) if self._item is not None:
                yield self._piece("response.function_call_arguments.delta", arguments)
            case Cited(_, citation):
                yield from self._opened("message")
                yield from self._section("content_part", "content_index")
                yield from self._cited(citation)
            case PartEnded(_, keep) if self._item is not None:
                yield from self._closed(self._item, keep)
            case PartEnded(_, keep):  # a tool that the provider ran itself: told to a client of its own wire
                item = dict(opaque_to_client(keep, NAME))
                if text_of(item.get("type")):
                    yield from self._whole(item)
            case WholePart(_, Media() as media) if media.kind == "image" and media.base64:
                made: dict[str, Json] = {"type": "image_generation_call", "status": "completed", "result": media.base64}
                yield from self._whole({"id": f"ig_{token_hex(12)}", **opaque_to_client(media.keep, NAME), **made})
            case Started(id, model):
                self._id = id if id.startswith("resp") else self._id
                self._model = model
                yield from self._begun()
            case UsageReported(usage):
                self._usage = usage
            case Finished("error"):
                yield from self._failed(ended_badly(event))
            case Finished(reason):
                status, why = _status(reason)
                yield self._event(f"response.{status}", response=self.response(status, why))
            case Failed(error):
                yield from self._failed(error)

    def _begun(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self.response("in_progress"))
        yield self._event("response.in_progress", response=self.response("in_progress"))

    def _failed(self, error: LLMError) -> Iterator[bytes]:
        if not self._number:  # the engine said nothing at all; clients want a response before they hear that it failed
            yield from self._begun()
        told = dict_of(write_error(error)["error"])
        code, message = told.get("code"), told.get("message")
        yield self._event("error", **{name: value for name, value in told.items() if name != "type"})
        failed = self.response("failed", None, {"code": code, "message": message})
        yield self._event("response.failed", response=failed)

    def _event(self, type: str, **more: Json) -> bytes:
        written = sse({"type": type, "sequence_number": self._number, **more}, type)
        self._number += 1
        return written

    def _opened(self, type: str, more: Mapping[str, Json] | None = None) -> Iterator[bytes]:
        if self._item is None:
            item = self._item = _Open(type, len(self._output), more or {})
            yield self._event("response.output_item.added", output_index=item.place, item=item.written("in_progress"))

    def _section(self, name: str, field: str) -> Iterator[bytes]:
        """The one part of a text or a thought, announced before its first piece."""
        item = self._item
        if item is not None and not item.section:
            item.section = field
            yield self._event(
                f"response.{name}.added", item_id=item.id, output_index=item.place, **{field: 0}, part=item.part()
            )

    def _piece(self, type: str, text: str) -> bytes:
        """One delta; what all deltas of an item share is encoded once."""
        item = self._item
        assert item is not None
        item.told.write(text)
        if not item.head:
            shared: dict[str, Json] = {"type": type, "item_id": item.id, "output_index": item.place}
            if item.section:
                shared[item.section] = 0
            if item.type == "message":
                shared["logprobs"] = []
            item.head = b"event: %b\ndata: %b" % (type.encode(), dump_bytes(shared)[:-1])
        number = self._number
        self._number += 1
        return b'%b,"sequence_number":%d,"delta":%b}\n\n' % (item.head, number, dump_text(text))

    def _cited(self, citation: Citation) -> Iterator[bytes]:
        item = self._item
        if item is None or item.type != "message":
            return
        annotation = _annotation(citation)
        yield self._event(
            "response.output_text.annotation.added",
            item_id=item.id,
            output_index=item.place,
            content_index=0,
            annotation_index=len(item.annotations),
            annotation=annotation,
        )
        item.annotations.append(annotation)

    def _closed(self, item: _Open, keep: Keep) -> Iterator[bytes]:
        self._item = None
        text = item.told.getvalue()
        where: dict[str, Json] = {"item_id": item.id, "output_index": item.place}
        if item.section:
            where[item.section] = 0
        match item.type:
            case "message":
                yield self._event("response.output_text.done", **where, logprobs=[], text=text)
                yield self._event("response.content_part.done", **where, part=item.part())
            case "reasoning" if text:
                yield self._event("response.reasoning_summary_text.done", **where, text=text)
                yield self._event("response.reasoning_summary_part.done", **where, part=item.part())
            case "function_call":
                yield self._event("response.function_call_arguments.done", **where, arguments=text or "{}")
        if keep and item.type != "message":  # what the engine wants back travels where clients keep such things
            item.more["encrypted_content"] = seal(keep)
        done = item.written("completed")
        yield self._event("response.output_item.done", output_index=item.place, item=done)
        self._output.append(done)

    def _whole(self, item: dict[str, Json]) -> Iterator[bytes]:
        place = len(self._output)
        yield self._event("response.output_item.added", output_index=place, item=item)
        yield self._event("response.output_item.done", output_index=place, item=item)
        self._output.append(item)


class _Open:
    """The item being told."""

    __slots__ = ("annotations", "head", "id", "more", "place", "section", "told", "type")

    _PREFIXES: Final[Mapping[str, str]] = {"message": "msg", "reasoning": "rs", "function_call": "fc"}

    def __init__(self, type: str, place: int, more: Mapping[str, Json]) -> None:
        self.type = type
        self.id = f"{self._PREFIXES[type]}_{token_hex(12)}"
        self.place = place  # among the items
        self.more: dict[str, Json] = dict(more)
        self.section = ""  # the field that counts its parts, once there is one
        self.told = StringIO()
        self.annotations: list[Json] = []
        self.head = b""  # what all its deltas begin with

    def part(self) -> dict[str, Json]:
        text = self.told.getvalue()
        if self.type == "reasoning":
            return {"type": "summary_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [*self.annotations], "logprobs": []}

    def written(self, status: str) -> dict[str, Json]:
        wire: dict[str, Json] = {"id": self.id, "type": self.type}
        parts: list[Json] = [self.part()] if self.section else []
        match self.type:
            case "message":
                wire |= {"status": status, "role": "assistant", "content": parts}
            case "reasoning":
                wire["summary"] = parts
            case _:
                done = self.told.getvalue() or "{}"
                wire |= {"status": status, "arguments": done if status == "completed" else ""}
        return {**wire, **self.more}


def _annotation(citation: Citation) -> Json:
    """Only what the engine told: offsets are the client's to trust, so none is made up."""
    if kept := opaque_to_client(citation.keep, NAME):
        return dict(kept)
    wire: dict[str, Json] = {"type": "url_citation", "url": citation.url or "", "title": citation.title or ""}
    if citation.start is not None and citation.end is not None:
        wire |= {"start_index": citation.start, "end_index": citation.end}
    return wire


def _tool(tool: ToolSpec) -> Json:
    told: dict[str, Json] = {"type": "function", "name": tool.name, "description": tool.description}
    return {**told, "parameters": dict(tool.parameters), "strict": bool(tool.strict)}


def _choice(choice: str | None) -> Json:
    kind, _, name = (choice or "auto").partition(":")
    return {"type": "function", "name": name} if name else kind


def _usage(usage: Usage) -> dict[str, Json]:
    # Where a whole was not told it is at least what its parts are.
    given = (usage.fresh or 0) + usage.cache_read + usage.cache_write
    made = (usage.text or 0) + usage.reasoning
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": given + made,
    }
