"""What changes in a chat that is passed through to an engine of the same dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any, Final, NamedTuple

from llm.chat.events import Finished, failed_finish_error, final_finish_reason
from llm.chat.provider_metadata import metadata_for_engine
from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.openai_chat.engine_errors import find_error
from llm.dialects.openai_chat.engine_request import PATH, request_usage, write_cache_key
from llm.dialects.openai_chat.engine_response import ChunkReader
from llm.dialects.openai_chat.shared import CLIENT_FINISH_REASONS, NAME, SYSTEM_FINGERPRINT, read_finish_reason
from llm.dialects.stream_repair import StreamRepair, find_first, read_object
from llm.engines.engine import Engine
from llm.engines.globs import matches
from llm.errors import LLMError
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, dump_bytes, loads
from llm.wire.json_lenient import as_count, as_dict, as_list, as_text
from llm.wire.sse import encode_sse_event

_DONE: Final = "[DONE]"
_USUAL_FINISH: Final = re.compile(
    rb'"choices": ?\[\{"index": ?0, ?"delta": ?\{\}, ?(?:"logprobs": ?null, ?)?'
    rb'"finish_reason": ?"(?:stop|length|tool_calls|content_filter)"\}\]'
)
# A finish reason, a name, usage and the end marker.
_MARKS: Final = (
    b'"finish_reason":"', b'"finish_reason": "', b'"name"', b'"usage":{', b'"usage": {', b"[DONE]",
)  # fmt: skip
_NONE_FINISHED: Final[frozenset[int]] = frozenset()  # one for all streams: each empty set has 216 bytes
_OUTPUT_FIELDS: Final = ("content", "tool_calls", "function_call", "refusal", "images", "audio")
_UNKNOWN_FINISH: Final = re.compile(
    rb'"finish_reason"\s*:\s*(?!"(?:stop|length|tool_calls|content_filter|function_call)"|\s)'
)
# All finish reasons that clients of this wire know; some of them refuse an answer with any other.
_KNOWN_FINISH_REASONS: Final = frozenset({*CLIENT_FINISH_REASONS.values(), "function_call"})


def passthrough_request(body: Mapping[str, Any], model: str, engine: Engine) -> EngineRequest:
    """Returns the client's body with the engine's model id; streams request usage (E7: usage is always recorded).

    Clients know by the name of a model whether it refuses ``max_tokens``, and do not know the names of this server: the
    field is sent as ``max_completion_tokens`` then, and named as dropped.
    """
    passed: dict[str, Any] = {**body, "model": model}
    headers = write_cache_key(body, engine) if engine.quirks.cache_key_header else {}
    if body.get("stream"):
        passed |= request_usage(body, engine)
    if body.get("max_tokens") is None or not matches(model, engine.quirks.refuses_max_tokens):
        return EngineRequest(path=PATH, body=passed, headers=headers)
    limit = passed.pop("max_tokens")
    if passed.get("max_completion_tokens") is None:
        passed["max_completion_tokens"] = limit
    return EngineRequest(path=PATH, body=passed, headers=headers, dropped=("max_tokens",))


def is_only_usage(frame: Frame) -> bool:
    """True for the chunk with usage and no choices, which is sent only because ``include_usage`` was set."""
    if '"usage"' not in frame.data:
        return False
    try:
        wire = loads(frame.data)
    except ValueError:
        return False
    return isinstance(wire, dict) and wire.get("choices") == [] and bool(wire.get("usage"))


def find_unconvertible_field(request: ChatRequest, engine: Engine) -> str | None:
    """Returns ``n`` if several choices are requested: the neutral form of an answer has one."""
    fields = metadata_for_engine(request.metadata, NAME, engine.issuer)
    return "n" if (as_count(fields.get("n")) or 1) > 1 else None


def repair_document(document: bytes) -> bytes:
    """Returns a completion with finish reasons that clients know. Raises ``EngineFailed`` for one that is an error."""
    if _UNKNOWN_FINISH.search(document) is None:
        return document
    wire = loads(document)
    changed = False
    for choice in _select_objects(as_dict(wire).get("choices")):
        message = as_dict(choice.get("message"))
        has_output = any(message.get(name) for name in _OUTPUT_FIELDS)
        changed |= _translate_finish(choice, bool(message.get("tool_calls")), has_output)
    return dump_bytes(wire) if changed else document


def _translate_finish(choice: dict[str, Any], has_call: bool, has_output: bool) -> bool:
    """Replaces a finish reason that clients do not know, or none; True if it was one. Raises ``EngineFailed``."""
    raw = as_text(choice.get("finish_reason"))
    if raw in _KNOWN_FINISH_REASONS:
        return False
    choice["finish_reason"] = _choose_finish(raw, has_call, has_output)
    if raw:
        choice.setdefault("native_finish_reason", raw)  # OpenRouter's name for it
    return True


def _choose_finish(raw: str, has_call: bool, has_output: bool) -> str:
    reason = final_finish_reason(read_finish_reason(raw), has_call, has_output)
    if reason == "error":
        raise failed_finish_error(Finished(reason, raw or None))
    return CLIENT_FINISH_REASONS[reason]


class _Call(NamedTuple):
    """A tool call as it began. ``complete``: its first piece of arguments was an object."""

    id: str
    name: str
    complete: bool


class ChunkRepair(StreamRepair):
    """Repairs what strict clients of this wire cannot read, or add up.

    The finish reason comes once, is one that clients know, and is not left out. Usage comes once: running totals in
    chunks with text are left out. A call's name comes once, its calls have an index each. Text and a call are in chunks
    of their own.
    """

    MARKS = (*_MARKS, *StreamRepair.MARKS)

    __slots__ = ("_calls", "_finished", "_first", "_reader", "_usage", "_usage_sent")

    def __init__(self, reader: ChunkReader, engine: Engine) -> None:
        """``reader``: gets each chunk too, after it was repaired."""
        super().__init__()
        self.needs_start = True
        self._reader = reader
        self._first = ""  # the first chunk with a choice, as JSON
        self._finished = _NONE_FINISHED  # choices with a finish reason
        self._usage: Json = None  # running total that was left out
        self._usage_sent: Json = None  # or the chunk with nothing but usage, as JSON
        self._calls: dict[tuple[int, int], _Call] = {}  # by choice and index

    def note_start(self, frame: Frame) -> None:
        """Notes the first chunk with a choice."""
        if '"delta"' in frame.data:
            self._first, self.needs_start = frame.data, False

    def repair(self, event: bytes, frame: Frame) -> bytes:
        """Returns the events to send. Raises ``EngineFailed`` for a finish reason that is an error."""
        if frame.data.strip() == _DONE:
            return b"".join(map(encode_sse_event, self._write_missing_end())) + event
        event = self.join_halves(event)
        if self.needs_start:
            self.note_start(frame)
        if self._is_usual_end(event, frame) or find_first(event, _MARKS) < 0:
            return event
        wire = read_object(frame)
        if find_error(wire) is not None:
            return event
        choices = _select_objects(wire.get("choices"))
        changed = False
        for choice in choices:
            index = as_count(choice.get("index")) or 0
            changed |= self._repair_calls(index, _select_objects(as_dict(choice.get("delta")).get("tool_calls")))
            changed |= self._repair_finish(index, choice)
        changed |= self._repair_usage(wire, choices)
        if _has_text_and_call(choices):
            return b"".join(map(encode_sse_event, _split_text_and_call(wire, choices[0])))
        if not changed:
            return event
        return encode_sse_event(wire) if _holds_anything(wire, choices) else b""

    def _is_usual_end(self, event: bytes, frame: Frame) -> bool:
        """Notes a finish reason alone, or usage alone, as nearly all hosts send them; True if it is one of these."""
        has_usage = event.find(b'"usage":{') >= 0 or event.find(b'"usage": {') >= 0
        if not has_usage and not self._finished and _USUAL_FINISH.search(event) is not None:
            self._finished = frozenset({0})
            return True
        only_usage = has_usage and (event.find(b'"choices":[]') >= 0 or event.find(b'"choices": []') >= 0)
        if only_usage and self._usage is None and self._usage_sent is None:
            self._usage_sent = frame.data
            return True
        return False

    def end(self) -> bytes:
        """Returns usage that was left out."""
        return b"".join(map(encode_sse_event, self._write_missing_end())) if self._finished else b""

    def shows_error(self, frame: Frame, error: LLMError) -> bool:
        """True for an object with ``error``: the official clients look for nothing else, not at the event's name."""
        return bool(read_object(frame).get("error"))

    def _repair_finish(self, index: int, choice: dict[str, Any]) -> bool:
        raw = choice.get("finish_reason")
        if not isinstance(raw, str) or not raw:
            return False
        if index in self._finished:
            choice["finish_reason"] = None
            return True
        self._finished |= {index}
        has_call = any(one == index for one, _ in self._calls)
        delta = as_dict(choice.get("delta"))
        return _translate_finish(choice, has_call, self._reader.has_output or has_call or bool(delta.get("content")))

    def _repair_usage(self, wire: dict[str, Any], choices: list[dict[str, Any]]) -> bool:
        if not isinstance(wire.get("usage"), dict):
            return False
        if isinstance(self._usage_sent, str):
            self._usage_sent = read_object(Frame(self._usage_sent)).get("usage")
        last = not choices or bool(self._finished)
        if last and self._usage_sent != wire["usage"]:
            self._usage_sent = wire["usage"]
            return False
        self._usage = wire["usage"]
        wire["usage"] = None
        return True

    def _repair_calls(self, choice: int, calls: list[dict[str, Any]]) -> bool:
        changed = False
        for wire in calls:
            function = wire.get("function")
            if not isinstance(function, dict) or not (name := as_text(function.get("name"))):
                continue
            index, id = as_count(wire.get("index")) or 0, as_text(wire.get("id"))
            call = _Call(id, name, _is_object(function.get("arguments")))
            known = self._calls.get((choice, index))
            if known is None:
                self._calls[choice, index] = call
            elif not known.id:
                continue  # nothing says whether this is the same call
            elif id != known.id if id else name != known.name or known.complete:
                wire["index"] = 1 + max(i for c, i in self._calls if c == choice)
                self._calls[choice, wire["index"]] = call
                changed = True
            else:
                del function["name"]
                changed = True
        return changed

    def _write_missing_end(self) -> Iterator[Json]:
        """Writes what a stream lacks at ``[DONE]``: its finish reason, and usage that was left out."""
        if self._finished and (self._usage is None or self._usage_sent is not None):
            return
        first = read_object(Frame(self._first))
        head: dict[str, Json] = {"id": first.get("id") or f"chatcmpl-{token_hex(12)}"}
        head |= {"object": "chat.completion.chunk", "created": first.get("created") or 0}
        head |= {"model": first.get("model") or ""}
        head |= {"system_fingerprint": first.get("system_fingerprint") or SYSTEM_FINGERPRINT}
        if not self._finished:
            reason = _choose_finish("", bool(self._calls), self._reader.has_output)
            yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
        if self._usage is not None and self._usage_sent is None:
            yield {**head, "choices": [], "usage": self._usage}


create_repair = ChunkRepair  # repairs one stream


def _select_objects(value: object) -> list[dict[str, Any]]:
    return [one for one in as_list(value) if isinstance(one, dict)]


def _is_object(arguments: object) -> bool:
    try:
        return isinstance(loads(as_text(arguments)), dict)
    except ValueError:
        return False


def _has_text_and_call(choices: list[dict[str, Any]]) -> bool:
    """True for a chunk of one choice whose delta has both: Haystack refuses it."""
    if len(choices) != 1:
        return False
    delta = as_dict(choices[0].get("delta"))
    return bool(delta.get("content")) and bool(delta.get("tool_calls"))


def _split_text_and_call(wire: dict[str, Any], choice: dict[str, Any]) -> Iterator[Json]:
    """Writes one chunk with the text and one with the calls and everything that ends the answer."""
    delta = as_dict(choice["delta"])
    text = {name: value for name, value in delta.items() if name != "tool_calls"}
    yield {**wire, "usage": None, "choices": [{**choice, "delta": text, "finish_reason": None}]}
    yield {**wire, "choices": [{**choice, "delta": {"tool_calls": delta["tool_calls"]}}]}


def _holds_anything(wire: dict[str, Any], choices: list[dict[str, Any]]) -> bool:
    """False for a chunk of which nothing is left."""
    deltas = [as_dict(choice.get("delta")) for choice in choices]
    filled = any(value for delta in deltas for name, value in delta.items() if name != "role")
    return filled or bool(wire.get("usage")) or any(choice.get("finish_reason") for choice in choices)
