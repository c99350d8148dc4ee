"""Checks the grammar of every answer in Ollama's wire, read as raw lines like a strict client (S7)."""

from __future__ import annotations

import re
from typing import Any

from tests.support.grammars import _count, _object, _Place

_CONTENT_FIELD = {
    "message": "content",
    "response": "response",
}  # content field by the field of the API (chat, generate)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def check_ollama(raw: bytes, field: str) -> None:
    """Checks a stream: one object a line, the last one with ``done`` or an error. ``field``: ``message`` or ``response``."""
    place = _Place()
    text = raw.decode()
    place.what = text[-60:]
    place.need(text.endswith("\n") and "\r" not in text, "the last line has no end")
    ended = False
    same: tuple[object, ...] | None = None
    ids: list[str] = []
    for place.at, line in enumerate(text[:-1].split("\n")):
        if not line:  # a keepalive
            continue
        place.what = line
        place.need(not ended, "something follows the end")
        wire = _object(line, place)
        if "error" in wire:
            place.need(isinstance(wire["error"], str) and wire["error"], "an error without a sentence")
            place.need("done" not in wire, "an error that is an end as well")
            ended = True
            continue
        identity = (wire.get("model"), wire.get("created_at"))
        place.need(same is None or same == identity, "model or time changed")
        same = identity
        ended = _line(wire, field, ids, place)
        inner = wire["message"] if field == "message" else wire
        values = (inner.get(_CONTENT_FIELD[field]), inner.get("thinking"), inner.get("tool_calls"), inner.get("images"))
        place.need(ended or any(values), "a line without content")
    place.what = text[-200:]
    place.need(ended, "the stream ends neither with done nor with an error")


def check_ollama_reply(wire: Any, field: str) -> None:
    """Checks an answer that is not streamed."""
    place = _Place()
    place.what = wire
    place.need(_line(wire, field, [], place), "a whole answer that is not done")


def _line(wire: dict[str, Any], field: str, ids: list[str], place: _Place) -> bool:
    """Checks a line. Returns True if it is the last."""
    place.need(isinstance(wire.get("model"), str) and wire["model"], "a line without a model")
    place.need(_TIME.fullmatch(wire.get("created_at") or ""), "created_at is no time")
    place.need((field == "message") == ("message" in wire), "a line of the other API")
    inner = wire
    if field == "message":
        inner = wire["message"]
        place.need(isinstance(inner, dict) and inner.get("role") == "assistant", "not the assistant's")
    place.need(isinstance(inner.get(_CONTENT_FIELD[field]), str), "no text, not even an empty one")
    place.need(isinstance(inner.get("thinking", ""), str), "a thought that is no text")
    for number, call in enumerate(inner.get("tool_calls") or ()):
        function = call.get("function")
        place.need(isinstance(function, dict), "a call without a function")
        place.need(isinstance(function.get("name"), str) and function["name"], "a call without a name")
        place.need(isinstance(function.get("arguments"), dict), "arguments are no object")
        place.need(function.get("index") == len(ids), f"call {number} is not numbered from 0")
        place.need(isinstance(call.get("id"), str) and call["id"] and call["id"] not in ids, "no id of its own")
        ids.append(call["id"])
    place.need(isinstance(wire.get("done"), bool), "done is missing")
    if wire["done"]:
        place.need(wire.get("done_reason") in ("stop", "length", "content_filter"), "no such done_reason")
        for name in ("prompt_eval_count", "eval_count"):
            _count(wire, name, place)
    else:
        place.need("done_reason" not in wire and "eval_count" not in wire, "counts before the end")
    return bool(wire["done"])
