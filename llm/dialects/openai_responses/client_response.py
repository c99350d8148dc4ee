"""Writes responses of ``POST /v1/responses`` for clients: streams and whole responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    describe_end,
    describe_refusal,
    failed_finish_error,
)
from llm.chat.filters import PartSequencer
from llm.chat.freeform import InputUnwrapper
from llm.chat.messages import NO_USAGE, Citation, Media, Usage, describe_media
from llm.chat.provider_metadata import Metadata, encode_metadata, metadata_for_client
from llm.chat.reply import Reply, replay
from llm.chat.request import ChatRequest, find_freeform
from llm.dialects.openai_common import write_error
from llm.dialects.openai_responses.client_items import (
    OpenItem,
    find_built_in_tools,
    write_citation,
    write_tool,
    write_tool_choice,
)
from llm.dialects.openai_responses.shared import NAME, read_call_names
from llm.errors import LLMError
from llm.wire.json_codec import Json, dump_bytes, dump_text
from llm.wire.json_lenient import as_dict, as_text
from llm.wire.sse import encode_sse_event

# The end of a stream that Open Responses demands. OpenAI itself sends none; its clients stop at it, or before it.
_DONE: Final = b"data: [DONE]\n\n"
# Finish reasons that make a response incomplete; with all others it is complete. The wire has no word for a pause.
_INCOMPLETE: Final[Mapping[FinishReason, str]] = {
    "length": "max_output_tokens", "paused": "max_output_tokens", "filtered": "content_filter",
}  # fmt: skip
_CUT: Final = ("length", "filtered")  # of these, the ones that cut the last item


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFields:
    """The fields of a response by which it can be named again."""

    id: str = ""  # "": the writer chooses it
    store: bool = False
    background: bool = False
    previous_response_id: str | None = None


_NOT_KEPT: Final = KeptFields()


def create_writer(request: ChatRequest, now: int, kept: KeptFields = _NOT_KEPT) -> ResponseWriter:
    """Creates the writer of one stream; ``now`` is in seconds since 1970."""
    return ResponseWriter(request, now, kept)


def write_reply(reply: Reply, request: ChatRequest, now: int, kept: KeptFields = _NOT_KEPT) -> dict[str, Json]:
    """Writes a whole response, equal to the one in the last event of a stream.

    Raises ``EngineFailed`` if the answer ended with an error.
    """
    if reply.finish.reason == "error":
        raise failed_finish_error(reply.finish)
    response_writer = ResponseWriter(request, now - _whole_seconds(reply.finish), kept)
    response_writer.feed([*replay(reply)])
    response_writer.end_item(reply.finish)
    return response_writer.write_end(reply.finish)


class ResponseWriter:
    """Writes events as the SSE stream of one response.

    ``sequence_number`` has no gaps, and one item is open at a time.
    """

    content_type = "text/event-stream"
    write_interval = 0.0

    def __init__(self, request: ChatRequest, now: int, kept: KeptFields = _NOT_KEPT) -> None:
        self.final: dict[str, Json] | None = None  # the response object of the last event
        self._request = replace(request, messages=())  # without the messages, which may be large
        self._kept = kept
        self._now = now
        self._in_order = PartSequencer()
        self._sequence_number = 0
        self._id = kept.id or f"resp_{token_hex(16)}"
        self._model = ""
        self._usage = NO_USAGE
        self._item: OpenItem | None = None
        self._ending: Metadata | None = None  # of the item, whose part has ended: its status depends on what follows
        self._output: list[Json] = []
        self._freeform = find_freeform(request.tools)
        self._input = InputUnwrapper()  # of the last call, if its input is text
        self._built_in = find_built_in_tools(request.tools)
        self._call_names = {tool.name: read_call_names(tool) for tool in request.tools}

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """Writes the events; returns at most one piece."""
        out = b"".join([piece for event in self._in_order.feed(events) for piece in self._write_event(event)])
        return [out] if out else []

    def write_keepalive(self) -> bytes:
        """Returns an SSE comment, since the wire has no keepalive event."""
        return b": ping\n\n"

    def end_item(self, finish: Finished) -> list[bytes]:
        """Writes the end of the last item, which is incomplete if the end of the answer has cut it."""
        return [*self._end_item("incomplete" if finish.reason in _CUT else "completed")]

    def write_end(self, finish: Finished) -> dict[str, Json]:
        """Writes the response object at the end of the answer."""
        reason = _INCOMPLETE.get(finish.reason)
        response = self.write_response("incomplete" if reason else "completed", reason)
        if details := describe_end(finish):
            response["stop_details"] = {**details}
        if finish.stop_sequence:
            response["stop_sequence"] = finish.stop_sequence
        if not reason:
            response["completed_at"] = self._now + _whole_seconds(finish)
        return response

    def write_response(self, status: str, reason: str | None = None, error: Json = None) -> dict[str, Json]:
        """Writes the response object as of now; ``reason`` says why it is incomplete."""
        request, options = self._request, self._request.options
        asked = metadata_for_client(request.metadata, NAME)
        format_: dict[str, Json] = {"type": "text"}
        if options.format is not None:
            format_ = {"type": "json_object"}
            if (schema := options.format.schema) is not None:
                format_ = {"type": "json_schema", "name": options.format.name, "schema": dict(schema)}
                format_["strict"] = bool(options.format.strict)
        tools = [write_tool(tool) for tool in request.tools if tool.executor == "client"]
        ended = status in ("completed", "incomplete")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._now,
            "completed_at": None,
            "status": status,
            "background": self._kept.background,
            "error": error,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": options.max_tokens,
            "max_tool_calls": asked.get("max_tool_calls"),
            "model": request.model or self._model,
            "output": [*self._output],
            "parallel_tool_calls": options.parallel_tools is not False,
            "previous_response_id": self._kept.previous_response_id,
            "presence_penalty": options.presence_penalty or 0.0,
            "frequency_penalty": options.frequency_penalty or 0.0,
            "prompt_cache_key": asked.get("prompt_cache_key"),
            "reasoning": {"effort": options.effort, "summary": as_dict(asked.get("reasoning")).get("summary")},
            "safety_identifier": asked.get("safety_identifier"),
            "service_tier": options.service_tier or "default",
            "store": self._kept.store,
            "temperature": 1.0 if options.temperature is None else options.temperature,
            "text": {"format": format_},
            "tool_choice": write_tool_choice(request),
            "tools": [*tools],
            "top_logprobs": options.top_logprobs or 0,
            "top_p": 1.0 if options.top_p is None else options.top_p,
            "truncation": asked.get("truncation") or "disabled",
            "usage": _write_usage(self._usage) if ended else None,
            "user": asked.get("user"),
            "metadata": asked.get("metadata") or {},
        }

    def _write_event(self, event: Event) -> Iterator[bytes]:
        if self._ending is not None and not isinstance(event, UsageReported | Finished):
            yield from self._end_item("completed")
        match event:
            case TextDelta(_, text):
                yield from self._open_item("message")
                yield from self._open_part("content_part", "content_index")
                if text:
                    yield self._write_delta("response.output_text.delta", text)
            case ReasoningDelta(_, text):
                yield from self._open_item("reasoning")
                if text:
                    yield from self._open_part("reasoning_summary_part", "summary_index")
                    yield self._write_delta("response.reasoning_summary_text.delta", text)
            case ToolCallStarted(_, id, name, "client"):
                self._input = InputUnwrapper()
                yield from self._open_call(id, name)
            case ToolCallDelta(_, arguments) if self._item is not None:
                yield from self._write_arguments(self._item, arguments)
            case Cited(_, citation):
                yield from self._open_item("message")
                yield from self._open_part("content_part", "content_index")
                yield from self._write_annotation(citation)
            case PartEnded(_, metadata) if self._item is not None:
                self._ending = metadata
            case PartEnded(_, metadata):  # a provider-run call, written only if it came over this wire
                item = dict(metadata_for_client(metadata, NAME))
                if as_text(item.get("type")):
                    yield from self._write_whole_item(item)
            case WholePart(index, Media() as media):
                yield from self._write_media(index, media)
            case Started(id, model):
                self._id = id if id.startswith("resp") and not self._kept.id else self._id
                self._model = model
                yield from self._write_start()
                self._sequence_number = event.next_number or self._sequence_number
            case UsageReported(usage):
                self._usage = usage
            case Finished("error"):
                yield from self._write_failure(failed_finish_error(event))
            case Finished():
                yield from self._write_finish(event)
            case Failed(error):
                yield from self._write_failure(error)

    def _write_media(self, index: int, media: Media) -> Iterator[bytes]:
        if media.kind != "image" or not media.base64:
            yield from self._write_event(TextDelta(index, describe_media(media)))
            yield from self._write_event(PartEnded(index))
            return
        fields: dict[str, Json] = {"type": "image_generation_call", "status": "completed", "result": media.base64}
        yield from self._write_whole_item(
            {"id": f"ig_{token_hex(12)}", **metadata_for_client(media.metadata, NAME), **fields}
        )

    def _write_start(self) -> Iterator[bytes]:
        yield self._encode_event("response.created", response=self.write_response("in_progress"))
        yield self._encode_event("response.in_progress", response=self.write_response("in_progress"))

    def _write_finish(self, finish: Finished) -> Iterator[bytes]:
        yield from self.end_item(finish)
        if refusal := describe_refusal(finish):
            yield from self._write_refusal(refusal)
        response = self.final = self.write_end(finish)
        yield self._encode_event(f"response.{response['status']}", response=response)
        yield _DONE

    def _write_refusal(self, text: str) -> Iterator[bytes]:
        """Writes a message whose only part is a refusal."""
        yield from self._open_item("message", as_refusal=True)
        yield from self._open_part("content_part", "content_index")
        yield self._write_delta("response.refusal.delta", text)
        self._ending = ()
        yield from self._end_item("completed")

    def _write_failure(self, error: LLMError) -> Iterator[bytes]:
        yield from self._end_item("completed")
        if not self._sequence_number:  # clients require the events of a start before a failure
            yield from self._write_start()
        error_fields = as_dict(write_error(error)["error"])
        code, message = error_fields.get("code"), error_fields.get("message")
        yield self._encode_event("error", **{name: value for name, value in error_fields.items() if name != "type"})
        response = self.final = self.write_response("failed", None, {"code": code, "message": message})
        yield self._encode_event("response.failed", response=response)
        yield _DONE

    def _encode_event(self, type: str, **fields: Json) -> bytes:
        encoded = encode_sse_event({"type": type, "sequence_number": self._sequence_number, **fields}, type)
        self._sequence_number += 1
        return encoded

    def _open_item(
        self, type: str, extra_fields: Mapping[str, Json] | None = None, *, as_refusal: bool = False
    ) -> Iterator[bytes]:
        if self._item is None:
            item = self._item = OpenItem(type, len(self._output), extra_fields or {}, as_refusal)
            yield self._encode_event(
                "response.output_item.added", output_index=item.output_index, item=item.write("in_progress")
            )

    def _open_call(self, id: str, name: str) -> Iterator[bytes]:
        if name in self._built_in:
            return self._open_item(f"{name}_call", {"call_id": id})
        kind = "custom_tool_call" if name in self._freeform else "function_call"
        return self._open_item(kind, {"call_id": id, **self._call_names.get(name, {"name": name})})

    def _open_part(self, name: str, field: str) -> Iterator[bytes]:
        """Opens the only part of a text or reasoning item before its first delta."""
        item = self._item
        if item is not None and not item.index_field:
            item.index_field = field
            yield self._encode_event(
                f"response.{name}.added",
                item_id=item.id,
                output_index=item.output_index,
                **{field: 0},
                part=item.write_part(),
            )

    def _write_delta(self, type: str, text: str) -> bytes:
        """Writes one delta. The fields that all deltas of an item share are encoded once."""
        item = self._item
        assert item is not None
        item.buffer.write(text)
        if not item.delta_prefix:
            shared: dict[str, Json] = {"type": type, "item_id": item.id, "output_index": item.output_index}
            if item.index_field:
                shared[item.index_field] = 0
            if item.type == "message" and not item.is_refusal:
                shared["logprobs"] = []
            item.delta_prefix = b"event: %b\ndata: %b" % (type.encode(), dump_bytes(shared)[:-1])
        number = self._sequence_number
        self._sequence_number += 1
        return b'%b,"sequence_number":%d,"delta":%b}\n\n' % (item.delta_prefix, number, dump_text(text))

    def _write_arguments(self, item: OpenItem, arguments: str) -> Iterator[bytes]:
        if item.type == "function_call":
            yield self._write_delta("response.function_call_arguments.delta", arguments)
        elif item.type != "custom_tool_call":
            item.buffer.write(arguments)
        elif piece := self._input.feed(arguments):
            yield self._write_delta("response.custom_tool_call_input.delta", piece)

    def _write_annotation(self, citation: Citation) -> Iterator[bytes]:
        item = self._item
        if item is None or item.type != "message":
            return
        annotation = write_citation(citation)
        yield self._encode_event(
            "response.output_text.annotation.added",
            item_id=item.id,
            output_index=item.output_index,
            content_index=0,
            annotation_index=len(item.annotations),
            annotation=annotation,
        )
        item.annotations.append(annotation)

    def _end_item(self, status: str) -> Iterator[bytes]:
        """Writes the end of the item whose part has ended, if there is one."""
        item, metadata = self._item, self._ending
        if item is None or metadata is None:
            return
        if item.type == "custom_tool_call" and (rest := self._input.close()):
            yield self._write_delta("response.custom_tool_call_input.delta", rest)
        self._item = self._ending = None
        text = item.buffer.getvalue()
        location: dict[str, Json] = {"item_id": item.id, "output_index": item.output_index}
        if item.index_field:
            location[item.index_field] = 0
        match item.type:
            case "message":
                if item.is_refusal:
                    yield self._encode_event("response.refusal.done", **location, refusal=text)
                else:
                    yield self._encode_event("response.output_text.done", **location, logprobs=[], text=text)
                yield self._encode_event("response.content_part.done", **location, part=item.write_part())
            case "reasoning" if text:
                yield self._encode_event("response.reasoning_summary_text.done", **location, text=text)
                yield self._encode_event("response.reasoning_summary_part.done", **location, part=item.write_part())
            case "custom_tool_call":
                yield self._encode_event("response.custom_tool_call_input.done", **location, input=text)
            case "function_call":
                yield self._encode_event("response.function_call_arguments.done", **location, arguments=text or "{}")
        if metadata and item.type != "message":  # clients send this field back unchanged (T1)
            item.extra_fields["encrypted_content"] = encode_metadata(metadata)
        done = item.write(status)
        yield self._encode_event("response.output_item.done", output_index=item.output_index, item=done)
        self._output.append(done)

    def _write_whole_item(self, item: dict[str, Json]) -> Iterator[bytes]:
        output_index = len(self._output)
        yield self._encode_event("response.output_item.added", output_index=output_index, item=item)
        yield self._encode_event("response.output_item.done", output_index=output_index, item=item)
        self._output.append(item)


def _whole_seconds(finish: Finished) -> int:
    return round(finish.timing.total) if finish.timing is not None else 0


def _write_usage(usage: Usage) -> dict[str, Json]:
    # An unknown total is at least the sum of its known parts.
    input_tokens = (usage.fresh or 0) + usage.cache_read + usage.cache_write
    output_tokens = (usage.text or 0) + usage.reasoning
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input_tokens + output_tokens,
    }
