"""From an engine: a streamed answer as events, a whole one as a reply."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    Cited,
    Event,
    Finished,
    FinishReason,
    PartEnded,
    Piece,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
    settled,
    text_of_piece,
)
from llm.chat.messages import Foreign, Ran
from llm.chat.provider_metadata import Keep, rest_of
from llm.chat.reply import Reply, collect
from llm.dialects.openai_common import NOISE
from llm.dialects.openai_responses.engine_errors import error_of
from llm.dialects.openai_responses.shared import (
    CALLS,
    HOSTED,
    NAME,
    TEXTS,
    hosted_arguments,
    json_of,
    ran_of,
    read_citation,
    read_made,
    read_response_metadata,
    read_text_metadata,
    read_usage,
    whole,
)
from llm.engines.engine import Engine
from llm.errors import EngineFailed, Malformed, Truncated
from llm.wire.frames import MAX_FRAME, Frame, Framing
from llm.wire.json_codec import loads
from llm.wire.json_lenient import count_of, dict_of, dicts_of, list_of, text_of
from llm.wire.sse import Sse

# Events with a piece of something, or all of it: what kind of item they are of, and the field that says which section
# of it. All others tell what the items say themselves, or are unknown.
_PIECES: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text": ("message", "content_index"),
    "response.refusal": ("message", "content_index"),
    "response.reasoning_summary_text": ("reasoning", "summary_index"),
    "response.reasoning_text": ("reasoning", "content_index"),
    "response.function_call_arguments": ("function_call", ""),
    "response.custom_tool_call_input": ("custom_tool_call", ""),
}
_WHOLES: Final = ("text", "refusal", "arguments", "input")  # where an event ``….done`` has it
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done")
_INCOMPLETE: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "filtered",
}


def framing(most: int = MAX_FRAME) -> Framing:
    return Sse(most)


def reader(engine: Engine) -> ResponseReader:
    return ResponseReader(engine)


class _Section:
    """A text of a message, one of the texts of a thought, or what a call is called with."""

    __slots__ = ("cited", "length", "part", "told")

    def __init__(self) -> None:
        self.part: int | None = None  # its index among our parts, None until there is something to tell
        self.told = StringIO()
        self.length = 0
        self.cited = 0  # so many of its citations were told


class _Item:
    """One item on its way."""

    __slots__ = ("ended", "part", "sections", "wire")

    def __init__(self, wire: Mapping[str, Any]) -> None:
        self.wire = wire
        self.part: int | None = None  # of a thought or a call
        self.sections: dict[object, _Section] = {}
        self.ended = False

    @property
    def type(self) -> str:
        return text_of(self.wire.get("type"))

    def section(self, key: object) -> _Section:
        return self.sections.setdefault(key, _Section())


class ResponseReader:
    """The events of one stream, which ends with ``response.completed`` or one of its kind."""

    noise, unlike, needs_text = NOISE, None, True

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._issuer = engine.issuer
        self._out: list[Event] = []
        self._started = False
        self._items: dict[object, _Item] = {}  # by their place in the answer; by their id where that is not told
        self._ids: dict[str, _Item] = {}
        self._next = 0
        self._last = _Section()  # of which something was told last
        self._called = False
        self._calls: set[str] = set()  # ids that were given to calls

    def feed(self, frame: Frame) -> list[Event]:
        data = frame.data.strip()
        if self.done or data == "[DONE]":
            return []
        try:
            wire = loads(data)
        except ValueError:
            raise Malformed("The engine sent an event that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, dict):
            self._event(text_of(wire.get("type")) or frame.event, wire)
        return self._take()

    def skipped(self, piece: Piece) -> None:
        text = text_of_piece(piece)
        self._last.told.write(text)
        self._last.length += len(text)

    def close(self) -> list[Event]:
        if not self.done:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        return []

    def whole(self, response: Mapping[str, Any]) -> list[Event]:
        """The events of an answer that came as one."""
        self._end("", response)
        return self._take()

    def _take(self) -> list[Event]:
        taken, self._out = self._out, []
        return taken

    def _event(self, kind: str, wire: Mapping[str, Any]) -> None:
        if kind == "error" or (not kind.startswith("response.") and wire.get("error")):
            raise error_of(0, wire, self._engine)
        response = dict_of(wire.get("response"))
        if kind in _ENDS:
            self._end(kind.removeprefix("response."), response)
            return
        if response:
            self._start(response)
        name, _, step = kind.rpartition(".")
        if name in _PIECES:
            self._piece(name, step, wire)
        elif kind == "response.output_item.added":
            self._open(wire)
        elif kind == "response.output_item.done":
            given = dict_of(wire.get("item"))
            self._close(self._found(wire, text_of(given.get("type")), text_of(given.get("id"))), given)
        elif kind == "response.output_text.annotation.added":
            item = self._found(wire, "message", text_of(wire.get("item_id")))
            self._cite(item, count_of(wire.get("content_index")) or 0, dict_of(wire.get("annotation")))

    def _start(self, response: Mapping[str, Any]) -> None:
        if not self._started:
            self._started = True
            self._out.append(Started(text_of(response.get("id")), text_of(response.get("model"))))

    def _found(self, wire: Mapping[str, Any], type: str, id: str) -> _Item:
        """The item that an event is about: by its place, since ids may change on the way; a new one if there is none.

        Hosts may leave out that an item began.
        """
        place = count_of(wire.get("output_index"))
        if place is not None or id:
            item = self._items.get(place) if place is not None else self._ids.get(id)
        else:
            item = next((one for one in reversed(self._items.values()) if one.type == type and not one.ended), None)
        return item or self._new_item({"type": type, "id": id}, place)

    def _new_item(self, wire: Mapping[str, Any], place: int | None) -> _Item:
        self._start({})
        item = _Item(wire)
        id = text_of(wire.get("id"))
        self._items[id or object() if place is None else place] = item
        if id:
            self._ids[id] = item
        return item

    def _open(self, wire: Mapping[str, Any]) -> None:
        given, place = dict_of(wire.get("item")), count_of(wire.get("output_index"))
        before = self._items.get(place) if place is not None else None
        if before is not None:  # a host that counts all of them 0
            self._close(before, {})
            self._items[object()] = before
        item = self._new_item(given, place)
        if item.type in CALLS:
            self._tell_call(item)
        elif item.type in HOSTED:
            self._tell_hosted(item)

    def _piece(self, name: str, step: str, wire: Mapping[str, Any]) -> None:
        kind, field = _PIECES[name]
        item = self._found(wire, kind, text_of(wire.get("item_id")))
        if item.ended or item.type != kind or step not in ("delta", "done"):
            return
        key = (field, count_of(wire.get(field)) or 0) if kind == "reasoning" else count_of(wire.get(field)) or 0
        if step == "delta":
            self._say(item, key, text_of(wire.get("delta")))
        else:
            self._say_rest(item, key, next((wire[name] for name in _WHOLES if name in wire), ""))

    def _say(self, item: _Item, key: object, text: str) -> None:
        """A piece more of a section."""
        if not text:
            return
        first = key not in item.sections
        section = item.section(key)
        self._last = section
        section.told.write(text)
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
            self._out.append(ToolCallDelta(item.part, text))

    def _say_rest(self, item: _Item, key: object, text: object) -> None:
        """All of a section, some or all of which may have been told (S4)."""
        told = item.sections[key].told.getvalue() if key in item.sections else ""
        all_of_it = json_of(text)
        if all_of_it.startswith(told):
            self._say(item, key, all_of_it[len(told) :])

    def _cite(self, item: _Item, key: int, wire: Mapping[str, Any]) -> None:
        if item.ended or item.type != "message" or not wire:
            return
        section = item.section(key)
        section.cited += 1
        if section.part is None:
            self._out.append(TextDelta(self._text_part(section), ""))
        self._out.append(Cited(self._text_part(section), read_citation(wire, section.length, self._issuer)))

    def _tell_call(self, item: _Item) -> None:
        """Once its name is known; with the pieces that came before."""
        name = text_of(item.wire.get("name"))
        if item.part is not None or not name:
            return
        # Ids that are missing or given twice are minted: results could not find their way back.
        id = text_of(item.wire.get("call_id"))
        id = id if id and id not in self._calls else f"call_{token_hex(12)}"
        self._calls.add(id)
        self._called = True
        item.part = self._new_part()
        self._out.append(ToolCallStarted(item.part, id, name))
        if told := item.section(0).told.getvalue():
            self._out.append(ToolCallDelta(item.part, told))

    def _tell_hosted(self, item: _Item) -> None:
        if item.part is None:
            item.part = self._new_part()
            id = text_of(item.wire.get("id")) or f"call_{token_hex(12)}"
            name = text_of(item.wire.get("name")) or HOSTED[item.type]
            self._out.append(ToolCallStarted(item.part, id, name, "provider"))

    def _close(self, item: _Item, wire: Mapping[str, Any]) -> None:
        """``wire`` is the item in the end; empty where that is not told."""
        if item.ended:
            return
        if not wire or (item.type and text_of(wire.get("type")) != item.type):
            wire = item.wire
        item.wire = wire
        kind = item.type
        if kind == "message":
            self._end_message(item)
        elif kind == "reasoning":
            self._end_thought(item)
        elif kind in CALLS:
            self._end_call(item)
        elif kind in HOSTED:
            self._tell_hosted(item)
            self._say_rest(item, 0, hosted_arguments(wire))
            self._end_part(item.part, whole(wire, self._issuer), ran_of(wire))
        elif kind:
            self._out.append(WholePart(self._new_part(), read_made(wire, self._issuer)))
        item.ended = True

    def _end_message(self, item: _Item) -> None:
        more = {name: value for name, value in item.wire.items() if name not in ("type", "role", "content")}
        content = list_of(item.wire.get("content"))
        for key, given in enumerate(content):
            part = dict_of(given)
            kind = text_of(part.get("type"))
            if kind in TEXTS:
                self._say_rest(item, key, text_of(part.get(TEXTS[kind])))
                for annotation in dicts_of(part.get("annotations"))[item.section(key).cited :]:
                    self._cite(item, key, annotation)
            elif part:
                self._out.append(WholePart(self._new_part(), Foreign(whole(part, self._issuer))))
        for at, section in item.sections.items():
            part = dict_of(content[at]) if isinstance(at, int) and at < len(content) else {}
            self._end_part(section.part, read_text_metadata(part, more, self._issuer))

    def _end_thought(self, item: _Item) -> None:
        for field, name in (("summary_index", "summary"), ("content_index", "content")):
            for key, part in enumerate(list_of(item.wire.get(name))):
                self._say_rest(item, (field, key), text_of(dict_of(part).get("text")))
        if item.part is None:
            item.part = self._new_part()
            self._out.append(ReasoningDelta(item.part, ""))
        self._end_part(item.part, whole(item.wire, self._issuer))

    def _end_call(self, item: _Item) -> None:
        self._tell_call(item)
        if item.part is None:
            raise Malformed(f"{self._engine.label} called a tool without its name.", engine=self._engine.name)
        field = CALLS[item.type]
        self._say_rest(item, 0, item.wire.get(field))
        known = {"call_id", "name", field} | ({"type"} if item.type == "function_call" else set())
        self._end_part(item.part, rest_of(item.wire, known, NAME, self._issuer))

    def _end_part(self, part: int | None, keep: Keep, ran: Ran | None = None) -> None:
        if part is not None:
            self._out.append(PartEnded(part, keep, ran))

    def _end(self, kind: str, response: Mapping[str, Any]) -> None:
        status = text_of(response.get("status"))
        if status not in ("completed", "incomplete", "failed", "cancelled"):
            status = kind if kind in ("incomplete", "failed", "cancelled") else "completed"
        if status == "failed":
            raise error_of(0, {"error": response.get("error") or {}}, self._engine)
        if status == "cancelled":
            raise EngineFailed(f"{self._engine.label} was told to stop.", engine=self._engine.name)
        self._start(response)
        ids, places = dict(self._ids), dict(self._items)  # of the stream; a whole answer may repeat its ids
        for place, wire in enumerate(list_of(response.get("output"))):
            if isinstance(wire, dict) and wire:
                item = ids.get(text_of(wire.get("id"))) or places.get(place)
                self._close(item or self._new_item(wire, place), wire)
        for item in self._items.values():
            self._close(item, {})
        usage = dict_of(response.get("usage"))
        told = read_usage(usage)
        if told.fresh is not None or told.text is not None:
            self._out.append(UsageReported(told))
        self._out.append(self._finished(status, response, usage))
        self.done = True

    def _finished(self, status: str, response: Mapping[str, Any], usage: Mapping[str, Any]) -> Finished:
        keep = read_response_metadata(response, usage, self._issuer)
        if status == "completed":
            return Finished(settled("stop", self._called), status, keep)
        why = text_of(dict_of(response.get("incomplete_details")).get("reason"))
        return Finished(settled(_INCOMPLETE.get(why, "other"), self._called), why or status, keep)

    def _text_part(self, section: _Section) -> int:
        if section.part is None:
            section.part = self._new_part()
        return section.part

    def _new_part(self) -> int:
        index, self._next = self._next, self._next + 1
        return index


def read_reply(body: Any, engine: Engine) -> Reply:
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} answered with something other than a response.", engine=engine.name)
    output, status = body.get("output"), body.get("status")
    if status == "failed" or (body.get("error") and not output):
        raise error_of(0, body, engine)
    if not isinstance(output, list):
        raise Malformed(f"{engine.label} answered with something other than a response.", engine=engine.name)
    if status in ("queued", "in_progress"):
        raise Truncated(f"{engine.label} answered before it was done.", engine=engine.name)
    return collect(ResponseReader(engine).whole(body))
