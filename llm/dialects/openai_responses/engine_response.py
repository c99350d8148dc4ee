"""Reads an engine's responses: a stream as events, a whole response as a Reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    AnyDelta,
    Cited,
    Event,
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
    final_finish_reason,
    get_delta_text,
)
from llm.chat.freeform import escape_input, split_wrapping
from llm.chat.messages import Message, ProviderToolRun, UnknownPart, Usage
from llm.chat.provider_metadata import Metadata, unknown_fields
from llm.chat.reply import Reply, collect
from llm.dialects.openai_common import VOLATILE_FIELDS
from llm.dialects.openai_responses.engine_errors import build_error, build_other_api
from llm.dialects.openai_responses.engine_items import Item, Section
from llm.dialects.openai_responses.shared import (
    CLIENT_CALLS,
    HOSTED_TOOLS,
    NAME,
    TEXT_FIELDS,
    dump_arguments,
    read_citation,
    read_generated_item,
    read_hosted_arguments,
    read_hosted_result,
    read_phase,
    read_response_metadata,
    read_text_metadata,
    read_usage,
    wrap_item,
)
from llm.engines.engine import Engine
from llm.errors import EngineFailed, Malformed, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import loads
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text, drop_null
from llm.wire.sse import SseDecoder

# Events with text: the type of their item, and the field with the index of the section. Others repeat the items.
_TEXT_EVENTS: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text": ("message", "content_index"),
    "response.refusal": ("message", "content_index"),
    "response.reasoning_summary_text": ("reasoning", "summary_index"),
    "response.reasoning_text": ("reasoning", "content_index"),
    "response.function_call_arguments": ("function_call", ""),
    "response.custom_tool_call_input": ("custom_tool_call", ""),
}
_NO_IDS: Final[frozenset[str]] = frozenset()  # one for all streams: each empty set has 216 bytes
_STATEFUL_FIELDS: Final = re.compile(rb"custom_tool_call_input")  # such input becomes JSON
_DONE_FIELDS: Final = ("text", "refusal", "arguments", "input")  # the fields with the whole text of an event ``….done``
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done")
_FILTERED: Final = ("content_filter",)  # reasons of an incomplete response that was filtered


class ResponseReader:
    """Reads the events of one stream, which ends with one of ``_ENDS``."""

    volatile_fields, stateful_fields, needs_text = VOLATILE_FIELDS, _STATEFUL_FIELDS, True

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._issuer = engine.issuer
        self._out: list[Event] = []
        self._started = False
        self._items: dict[object, Item] = {}  # by ``output_index``, else by id
        self._items_by_id: dict[str, Item] = {}
        self._next_part = 0
        self._last_section = Section()  # the section of the last delta
        self._has_calls = False
        self._call_ids = _NO_IDS  # ids of all calls so far

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one frame. Raises ``Malformed`` for an invalid one, or the error that the engine sent."""
        data = frame.data.strip()
        if self.done or data == "[DONE]":
            return []
        try:
            wire = loads(data)
        except ValueError:
            raise Malformed("The engine sent an event that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, dict):
            self._read_event(as_text(wire.get("type")) or frame.event, wire)
        return self._take_events()

    def note_delta(self, delta: AnyDelta) -> None:
        """Records a delta that bypassed ``feed``; it belongs to the section of the last delta."""
        text = get_delta_text(delta)
        self._last_section.buffer.write(text)
        self._last_section.length += len(text)

    def close(self) -> list[Event]:
        """Ends the stream. Raises ``Truncated`` if its end event is missing."""
        if not self.done:
            raise Truncated(f"{self._engine.label} ended the answer before it was complete.", engine=self._engine.name)
        return []

    def read_response(self, response: Mapping[str, Any]) -> list[Event]:
        """Returns the events of a whole response."""
        self._end_response("", response)
        return self._take_events()

    def _take_events(self) -> list[Event]:
        events, self._out = self._out, []
        return events

    def _read_event(self, kind: str, wire: Mapping[str, Any]) -> None:
        if kind == "error" or (not kind.startswith("response.") and wire.get("error")):
            raise build_error(0, wire, self._engine)
        if "choices" in wire and not self._started:
            raise build_other_api(self._engine)
        response = as_dict(wire.get("response"))
        if kind in _ENDS:
            self._end_response(kind.removeprefix("response."), response)
            return
        if response:
            self._emit_start(response)
        name, _, step = kind.rpartition(".")
        if name in _TEXT_EVENTS:
            self._read_text_event(name, step, wire)
        elif kind == "response.output_item.added":
            self._open_item(wire)
        elif kind == "response.output_item.done":
            final = as_dict(wire.get("item"))
            self._close_item(self._find_item(wire, as_text(final.get("type")), as_text(final.get("id"))), final)
        elif kind == "response.output_text.annotation.added":
            item = self._find_item(wire, "message", as_text(wire.get("item_id")))
            self._emit_citation(item, as_count(wire.get("content_index")) or 0, as_dict(wire.get("annotation")))

    def _emit_start(self, response: Mapping[str, Any]) -> None:
        if not self._started:
            self._started = True
            self._out.append(Started(as_text(response.get("id")), as_text(response.get("model"))))

    def _find_item(self, wire: Mapping[str, Any], type: str, id: str) -> Item:
        """Finds the item of an event by ``output_index``, else by id; creates it, since hosts may omit its start."""
        index = as_count(wire.get("output_index"))
        if index is not None or id:
            item = self._items.get(index) if index is not None else self._items_by_id.get(id)
        else:
            item = next((one for one in reversed(self._items.values()) if one.type == type and not one.ended), None)
        return item or self._new_item({"type": type, "id": id}, index)

    def _new_item(self, wire: Mapping[str, Any], index: int | None) -> Item:
        self._emit_start({})
        item = Item(wire)
        id = as_text(wire.get("id"))
        self._items[id or object() if index is None else index] = item
        if id:
            self._items_by_id[id] = item
        return item

    def _open_item(self, wire: Mapping[str, Any]) -> None:
        fields, index = as_dict(wire.get("item")), as_count(wire.get("output_index"))
        previous = self._items.get(index) if index is not None else None
        if previous is not None:  # a host that gives all items the index 0
            self._close_item(previous, {})
            self._items[object()] = previous
        item = self._new_item(fields, index)
        if item.type in CLIENT_CALLS:
            self._emit_call(item)
        elif item.type in HOSTED_TOOLS:
            self._emit_hosted_call(item)

    def _read_text_event(self, name: str, step: str, wire: Mapping[str, Any]) -> None:
        kind, field = _TEXT_EVENTS[name]
        item = self._find_item(wire, kind, as_text(wire.get("item_id")))
        if item.ended or item.type != kind or step not in ("delta", "done"):
            return
        key = (field, as_count(wire.get(field)) or 0) if kind == "reasoning" else as_count(wire.get(field)) or 0
        if step == "delta":
            self._emit_text(item, key, as_text(wire.get("delta")))
        else:
            self._emit_missing_text(item, key, next((wire[name] for name in _DONE_FIELDS if name in wire), ""))

    def _emit_text(self, item: Item, key: object, text: str) -> None:
        """Emits a delta of a section."""
        first = key not in item.sections
        if item.type == "function_call" and (first or not item.sections[key].length):
            text = drop_null(text)
        if not text:
            return
        section = self._last_section = item.section(key)
        section.buffer.write(text)
        section.length += len(text)
        if item.type == "message":
            self._out.append(TextDelta(self._text_part(section), text))
        elif item.type == "reasoning":
            if item.part is None:
                item.part = self._new_part()
            elif first:
                text = "\n\n" + text
            self._out.append(ReasoningDelta(item.part, text))
        elif item.part is not None:
            self._out.append(ToolCallDelta(item.part, escape_input(text) if item.is_text_call else text))

    def _emit_missing_text(self, item: Item, key: object, text: object) -> None:
        """Emits the part of a whole section that its deltas did not contain (S4: every text is emitted once)."""
        emitted = item.sections[key].buffer.getvalue() if key in item.sections else ""
        whole_text = dump_arguments(text)
        if whole_text.startswith(emitted):
            self._emit_text(item, key, whole_text[len(emitted) :])

    def _emit_citation(self, item: Item, key: int, wire: Mapping[str, Any]) -> None:
        if item.ended or item.type != "message" or not wire:
            return
        section = item.section(key)
        section.cited += 1
        if section.part is None:
            self._out.append(TextDelta(self._text_part(section), ""))
        self._out.append(Cited(self._text_part(section), read_citation(wire, section.length, self._issuer)))

    def _emit_call(self, item: Item) -> None:
        """Emits the start of a call once its name is known, and the arguments that came before."""
        name = as_text(item.wire.get("name"))
        if item.part is not None or not name:
            return
        # A missing or repeated id is replaced, since results refer to it.
        id = as_text(item.wire.get("call_id"))
        id = id if id and id not in self._call_ids else f"call_{token_hex(12)}"
        self._call_ids |= {id}
        self._has_calls = True
        item.part = self._new_part()
        self._out.append(ToolCallStarted(item.part, id, name))
        arguments = item.section(0).buffer.getvalue()
        if item.is_text_call:
            arguments = split_wrapping()[0] + escape_input(arguments)
        if arguments:
            self._out.append(ToolCallDelta(item.part, arguments))

    def _emit_hosted_call(self, item: Item) -> None:
        if item.part is None:
            item.part = self._new_part()
            id = as_text(item.wire.get("id")) or f"call_{token_hex(12)}"
            name = as_text(item.wire.get("name")) or HOSTED_TOOLS[item.type]
            self._out.append(ToolCallStarted(item.part, id, name, "provider"))

    def _close_item(self, item: Item, wire: Mapping[str, Any]) -> None:
        """Closes an item; ``wire`` is its final form, empty if the engine did not send it."""
        if item.ended:
            return
        if wire and (not item.type or as_text(wire.get("type")) == item.type):
            item.wire = wire
        wire, kind = item.wire, item.type
        if kind == "message":
            self._end_message(item)
        elif kind == "reasoning":
            self._end_reasoning(item)
        elif kind in CLIENT_CALLS:
            self._end_call(item)
        elif kind in HOSTED_TOOLS:
            self._emit_hosted_call(item)
            self._emit_missing_text(item, 0, read_hosted_arguments(wire))
            self._end_part(item.part, wrap_item(wire, self._issuer), read_hosted_result(wire))
        elif kind:
            self._out.append(WholePart(self._new_part(), read_generated_item(wire, self._issuer)))
        item.ended = True

    def _end_message(self, item: Item) -> None:
        item_fields = {name: value for name, value in item.wire.items() if name not in ("type", "role", "content")}
        content = as_list(item.wire.get("content"))
        for key, part in enumerate(map(as_dict, content)):
            kind = as_text(part.get("type"))
            if kind in TEXT_FIELDS:
                self._emit_missing_text(item, key, as_text(part.get(TEXT_FIELDS[kind])))
                for annotation in as_dicts(part.get("annotations"))[item.section(key).cited :]:
                    self._emit_citation(item, key, annotation)
            elif part:
                self._out.append(WholePart(self._new_part(), UnknownPart(wrap_item(part, self._issuer))))
        for index, section in item.sections.items():
            part = as_dict(content[index]) if isinstance(index, int) and index < len(content) else {}
            metadata = read_text_metadata(part, item_fields, self._issuer)
            if section.part is not None:
                self._out.append(PartEnded(section.part, metadata, phase=read_phase(item_fields)))

    def _end_reasoning(self, item: Item) -> None:
        for field, name in (("summary_index", "summary"), ("content_index", "content")):
            for key, part in enumerate(as_list(item.wire.get(name))):
                self._emit_missing_text(item, (field, key), as_text(as_dict(part).get("text")))
        if item.part is None:
            item.part = self._new_part()
            self._out.append(ReasoningDelta(item.part, ""))
        self._end_part(item.part, wrap_item(item.wire, self._issuer))

    def _end_call(self, item: Item) -> None:
        self._emit_call(item)
        if item.part is None:
            raise Malformed(f"{self._engine.label} called a tool without its name.", engine=self._engine.name)
        field = CLIENT_CALLS[item.type]
        self._emit_missing_text(item, 0, item.wire.get(field))
        if item.is_text_call:
            self._out.append(ToolCallDelta(item.part, split_wrapping()[1]))
        known = {"call_id", "name", field} | ({"type"} if item.type == "function_call" else set())
        self._end_part(item.part, unknown_fields(item.wire, known, NAME, self._issuer))

    def _end_part(self, part: int | None, metadata: Metadata, ran: ProviderToolRun | None = None) -> None:
        if part is not None:
            self._out.append(PartEnded(part, metadata, ran))

    def _end_response(self, kind: str, response: Mapping[str, Any]) -> None:
        status = as_text(response.get("status"))
        if status not in ("completed", "incomplete", "failed", "cancelled"):
            status = kind if kind in ("incomplete", "failed", "cancelled") else "completed"
        if status == "failed":
            raise build_error(0, {"error": response.get("error") or {}}, self._engine)
        if status == "cancelled":
            raise EngineFailed(f"{self._engine.label} cancelled the response.", engine=self._engine.name)
        self._emit_start(response)
        ids, items = dict(self._items_by_id), dict(self._items)  # before this loop adds items with equal ids
        for index, wire in enumerate(as_list(response.get("output"))):
            if isinstance(wire, dict) and wire:
                item = ids.get(as_text(wire.get("id"))) or items.get(index)
                self._close_item(item or self._new_item(wire, index), wire)
        for item in self._items.values():
            self._close_item(item, {})
        usage = as_dict(response.get("usage"))
        reported = read_usage(usage)
        if reported.fresh is not None or reported.text is not None:
            self._out.append(UsageReported(reported))
        self._out.append(self._build_finished(status, response, usage))
        self.done = True

    def _build_finished(self, status: str, response: Mapping[str, Any], usage: Mapping[str, Any]) -> Finished:
        metadata = read_response_metadata(response, usage, self._issuer)
        if status == "completed":
            return Finished(final_finish_reason("stop", self._has_calls), status, metadata)
        reason = as_text(as_dict(response.get("incomplete_details")).get("reason"))
        # ``max_output_tokens``, ``max_messages``, ``steered`` and any other: the answer is not complete.
        neutral: FinishReason = "filtered" if reason in _FILTERED else "length"
        return Finished(final_finish_reason(neutral, self._has_calls), reason or status, metadata)

    def _text_part(self, section: Section) -> int:
        if section.part is None:
            section.part = self._new_part()
        return section.part

    def _new_part(self) -> int:
        index, self._next_part = self._next_part, self._next_part + 1
        return index


create_framing = SseDecoder  # cuts a streamed answer into frames
create_reader = ResponseReader  # reads one streamed answer


def read_reply(body: Any, engine: Engine) -> Reply:
    """Reads a whole response. Raises ``Malformed`` or ``Truncated`` for an invalid one, or the engine's error."""
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} sent an answer that is not a response.", engine=engine.name)
    output, status = body.get("output"), body.get("status")
    if status == "failed" or (body.get("error") and not output):
        raise build_error(0, body, engine)
    if "choices" in body:
        raise build_other_api(engine)
    if not isinstance(output, list):
        raise Malformed(f"{engine.label} sent an answer that is not a response.", engine=engine.name)
    if status in ("queued", "in_progress"):
        if body.get("background") is True:  # the answer is fetched later
            id, model, nothing = as_text(body.get("id")), as_text(body.get("model")), Message("assistant", ())
            return Reply(id=id, model=model, message=nothing, finish=Finished("paused", status), usage=Usage())
        raise Truncated(f"{engine.label} sent a response that is not finished.", engine=engine.name)
    return collect(ResponseReader(engine).read_response(body))
