"""Checks the grammar of every stream of ``/v1/responses``, read as raw bytes like a strict client (S7)."""

from __future__ import annotations

import json
from typing import Any

from tests.support.grammars import _Place, _sse_events

# Type of an item → its part type, the field with the part index, the event type of its deltas.
_PARTS = {
    "message": ("content_part", "content_index", "output_text", "text"),
    "reasoning": ("reasoning_summary_part", "summary_index", "reasoning_summary_text", "text"),
}
_STATES = ("completed", "incomplete")
_ENDS = {"completed": "completed", "incomplete": "incomplete", "failed": "failed"}


class _Item:
    def __init__(self, wire: dict[str, Any]) -> None:
        self.wire = wire
        self.part: str | None = None  # the text of its open part
        self.told = False  # the complete item was sent
        self.parts: list[str] = []
        self.arguments: str | None = "" if wire["type"] == "function_call" else None
        self.annotations: list[Any] = []


def check_responses(raw: bytes) -> None:
    """Checks a complete stream: ``response.created`` first, items one after another, one last event; numbers without gaps."""
    place = _Place()
    done: list[dict[str, Any]] = []
    item: _Item | None = None
    failed = ended = False
    seen = 0
    *events, last = _sse_events(raw)
    place.what = last
    place.need(last == ("", "[DONE]"), "no [DONE] at the end")
    for place.at, (event, data) in enumerate(events):
        wire = json.loads(data)
        place.what = wire
        place.need(wire["type"] == event, "the event's name is not its type")
        place.need(wire["sequence_number"] == place.at, "a gap in the numbers")
        place.need(not ended, "something follows the end")
        seen += 1
        kind = event.removeprefix("response.")
        place.need((place.at < 2) == (kind in ("created", "in_progress")), "not the beginning")
        if kind in ("created", "in_progress"):
            place.need(place.at == ("created", "in_progress").index(kind), "out of its place")
            place.need(
                wire["response"]["status"] == "in_progress" and not wire["response"]["output"], "not a beginning"
            )
        elif event == "error":
            place.need(wire["message"] and "code" in wire and "param" in wire, "an error without its reason")
            failed = True
        elif kind in _ENDS:
            response = wire["response"]
            place.need(response["status"] == _ENDS[kind] and response["object"] == "response", "not that end")
            place.need(response["output"] == done, "the output is not the items that were done")
            place.need((kind == "failed") == failed == (response["error"] is not None), "an end that hides an error")
            place.need((kind == "incomplete") == (response["incomplete_details"] is not None), "no reason given")
            if kind != "failed":
                place.need(item is None, "an item was not done")
                usage = response["usage"]
                place.need(usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"], "a wrong sum")
            ended = True
        elif kind == "output_item.added":
            place.need(item is None, "an item begins inside another")
            place.need(wire["output_index"] == len(done), "not the next place")
            place.need(wire["item"]["id"] not in {one["id"] for one in done}, "an id given twice")
            item = _Item(wire["item"])
        else:
            place.need(item is not None and not failed, "belongs to no item")
            assert item is not None
            place.need(wire["output_index"] == len(done), "another item's place")
            if kind == "output_item.done":
                _done(place, item, wire["item"])
                done.append(wire["item"])
                item = None
                continue
            place.need(wire["item_id"] == item.wire["id"], "another item's id")
            _inside(place, item, kind, wire)
    place.need(seen and ended, "the stream does not end")


def _inside(place: _Place, item: _Item, kind: str, wire: dict[str, Any]) -> None:
    if kind.startswith("function_call_arguments."):
        place.need(item.arguments is not None, "not a call")
        if kind.endswith("delta"):
            place.need(wire["delta"], "an empty delta")
            item.arguments = (item.arguments or "") + wire["delta"]
        else:
            place.need(wire["arguments"] == (item.arguments or "{}"), "not the sum of its deltas")
        return
    place.need(item.wire["type"] in _PARTS, "an event that such an item has not")
    part, field, text, whole = _PARTS[item.wire["type"]]
    place.need(wire[field] == len(item.parts), "another part")
    if kind == f"{part}.added":
        place.need(item.part is None, "a part inside another")
        item.part, item.told = "", False
        return
    place.need(item.part is not None, "before its part")
    if kind == f"{text}.delta":
        place.need(wire["delta"] and not item.told, "an empty delta, or one too many")
        item.part = (item.part or "") + wire["delta"]
    elif kind == f"{text}.done":
        place.need(wire[whole] == item.part, "not the sum of its deltas")
        item.told = True
    elif kind == "output_text.annotation.added":
        place.need(wire["annotation_index"] == len(item.annotations), "a gap in the annotations")
        item.annotations.append(wire["annotation"])
    elif kind == f"{part}.done":
        place.need(item.told and wire["part"]["text"] == item.part, "not the sum of its deltas")
        item.parts.append(item.part or "")
        item.part = None
    else:
        place.fail("no such event")


def _done(place: _Place, item: _Item, wire: dict[str, Any]) -> None:
    place.need(item.part is None, "its part was not done")
    place.need(wire["id"] == item.wire["id"] and wire["type"] == item.wire["type"], "became another item")
    if wire["type"] == "message":
        place.need([part["text"] for part in wire["content"]] == item.parts, "not the texts that were told")
        told = [one for part in wire["content"] for one in part["annotations"]]
        place.need(told == item.annotations, "not the annotations that were told")
    elif wire["type"] == "reasoning":
        place.need([part["text"] for part in wire["summary"]] == item.parts, "not the thoughts that were told")
    elif wire["type"] == "function_call":
        place.need(wire["arguments"] == (item.arguments or "{}"), "not the arguments that were told")
        place.need(wire["call_id"] and wire["name"] and wire["status"] in _STATES, "a call without name or id")
