"""Reads an engine's answers: a stream of chunks as events, a whole completion as a Reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    AnyDelta,
    Event,
    Finished,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReported,
    final_finish_reason,
)
from llm.chat.messages import Citation, Media, UnknownPart, Usage
from llm.chat.parts_manager import PartsManager
from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.chat.reply import Reply, collect
from llm.dialects.openai_chat.engine_calls import StreamedCall
from llm.dialects.openai_chat.engine_errors import build_error, find_error
from llm.dialects.openai_chat.shared import (
    NAME,
    REASONING_FIELDS,
    ReasoningDetails,
    read_citation,
    read_executed_tools,
    read_finish_reason,
    read_found,
    read_reference,
    read_usage,
)
from llm.dialects.openai_common import VOLATILE_FIELDS
from llm.engines.engine import Engine
from llm.errors import Malformed, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text
from llm.wire.sse import SseDecoder

_NO_IDS: Final[frozenset[str]] = frozenset()  # one for all streams: each empty set has 216 bytes
_TEXT_FIELDS: Final = frozenset({"role", "content"})  # fields of a delta that holds only text
# A name may begin another tool call, reasoning details are collected, and the input of custom tools becomes JSON. Usage
# and a finish reason in each event are left out of passed-through streams but for one.
_STATEFUL_FIELDS: Final = re.compile(rb'"(?:name|reasoning_details|custom)"|"usage" ?: ?\{|"finish_reason" ?: ?"')


class ChunkReader:
    """Reads the chunks of one stream, which ends with ``[DONE]``; some hosts only close it after the finish reason."""

    volatile_fields = VOLATILE_FIELDS
    stateful_fields = _STATEFUL_FIELDS
    needs_text = False

    __slots__ = (
        "_call_ids", "_calls", "_category", "_characters", "_details", "_engine", "_explanation", "_extra", "_finish",
        "_last_call", "_part_start", "_parts", "_sources", "_started", "_stop_sequence", "_usage", "done",
    )  # fmt: skip

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._parts = PartsManager()
        self._started = False
        self._finish: str | None = None
        self._category: str | None = None  # of what was filtered
        self._explanation: str | None = None  # of the finish reason
        self._stop_sequence: str | None = None
        self._usage: Usage | None = None
        self._details: ReasoningDetails | None = None  # once there is reasoning
        self._characters = 0  # characters of text so far
        self._part_start = 0  # characters of text before the open text part
        self._calls: dict[object, StreamedCall] = {}
        self._last_call: StreamedCall | None = None
        self._call_ids = _NO_IDS  # ids of emitted calls
        self._sources: dict[str, Citation] = {}  # by URL; Perplexity repeats them in every chunk
        self._extra: dict[str, Json] = {}

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one chunk. Raises an ``LLMError`` for an error chunk, ``Malformed`` for a chunk that is not JSON."""
        if self.done:
            return []
        data = frame.data.strip()
        if data == "[DONE]":
            return self._end()
        try:
            wire = loads(data)
        except ValueError:
            if frame.event == "error":
                raise build_error(0, {"error": data}, self._engine) from None
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, list) and wire:
            wire = wire[0]  # Google sends errors in a list
        if isinstance(wire, dict):
            failed = wire if frame.event == "error" else find_error(wire)
            if failed is not None:
                raise build_error(0, failed, self._engine)
            self._read_chunk(wire)
        return self._parts.take_events()

    @property
    def has_output(self) -> bool:
        """True once there was text, a call or a picture."""
        return self._parts.has_output

    def note_delta(self, delta: AnyDelta) -> None:
        """Counts the characters and call arguments of a delta that was not fed."""
        if isinstance(delta, TextDelta):
            self._characters += len(delta.text)
        elif isinstance(delta, ToolCallDelta):
            for call in self._calls.values():
                if call.index == delta.index:
                    call.note(delta.arguments)

    def close(self) -> list[Event]:
        """Ends a stream without ``[DONE]``. Raises ``Truncated`` if there was no finish reason."""
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        return self._end()

    # Most chunks have few of these fields, so each field is read only after a test that it exists.

    def _read_chunk(self, wire: Mapping[str, Any], whole: bool = False) -> None:
        choices = as_list(wire["choices"]) if "choices" in wire else ()
        if not self._started and (choices or as_text(wire.get("id"))):
            self._start(wire)
        if "usage" in wire or "x_groq" in wire:
            self._read_usage(wire.get("usage") or as_dict(wire.get("x_groq")).get("usage"))
        for choice in choices:
            if isinstance(choice, dict) and not ((index := choice.get("index")) and as_count(index)):
                self._read_choice(choice, whole)
        if "citations" in wire or "search_results" in wire or "web_search" in wire:
            self._read_sources(wire)

    def _read_sources(self, wire: Mapping[str, Any]) -> None:
        """Reads sources beside the choices: xAI and Perplexity cite some of what was found, Zhipu gives all of it."""
        for url in as_list(wire.get("citations")):
            if isinstance(url, str):
                self._sources.setdefault(url, Citation(url))
        for found in (*as_dicts(wire.get("search_results")), *as_dicts(wire.get("web_search"))):
            url = as_text(found.get("url")) or as_text(found.get("link"))
            if url and (url in self._sources or not wire.get("citations")):
                self._sources[url] = Citation(url, as_text(found.get("title")) or None)

    def _start(self, wire: Mapping[str, Any]) -> None:
        self._started = True
        self._parts.events.append(Started(as_text(wire.get("id")), as_text(wire.get("model"))))

    def _read_usage(self, wire: object) -> None:
        if isinstance(wire, dict):
            usage = read_usage(wire, reasoning_in_output=self._engine.quirks.reasoning_in_output)
            if usage != self._usage and (usage.fresh is not None or usage.text is not None):
                self._usage = usage

    def _read_choice(self, choice: Mapping[str, Any], whole: bool) -> None:
        delta = as_dict(choice.get("delta"))
        if "message" in choice:
            # Perplexity sends both in each form: the other one is empty or holds the whole text so far.
            message = as_dict(choice["message"])
            delta = message or delta if whole else delta or message
        if "usage" in choice:  # Moonshot
            self._read_usage(choice["usage"])
        if delta.keys() <= _TEXT_FIELDS:  # most chunks
            self._read_content(delta.get("content"))
        else:
            self._read_delta(delta, whole)
        if "logprobs" in choice and isinstance(choice["logprobs"], dict):
            _extend_logprobs(self._extra.setdefault("logprobs", {}), choice["logprobs"])
        if choice.get("finish_reason"):
            self._read_finish(choice)

    def _read_finish(self, choice: Mapping[str, Any]) -> None:
        """Reads the finish reason, with what vLLM, SGLang and OpenRouter add to it."""
        self._finish = as_text(choice["finish_reason"]) or self._finish
        stopped_by = choice.get("stop_reason") or choice.get("matched_stop")  # the id of a token, or a stop sequence
        self._stop_sequence = as_text(stopped_by) or self._stop_sequence
        self._explanation = as_text(as_dict(choice.get("error")).get("message")) or self._explanation
        if filters := as_dict(choice.get("content_filter_results")):  # Azure
            found = [name for name, result in filters.items() if as_dict(result).get("filtered")]
            self._category = ", ".join(found) or self._category

    def _read_delta(self, delta: Mapping[str, Any], whole: bool) -> None:
        self._read_reasoning(delta, whole)
        self._read_content(delta.get("content"))
        self._read_content(delta.get("refusal"))
        for annotation in as_dicts(delta.get("annotations")):
            self._read_annotation(annotation)
        executed, own_data = as_dicts(delta.get("executed_tools")), as_dict(delta.get("context"))  # Groq, Azure
        for found in (*read_executed_tools(executed), *read_found(as_dicts(own_data.get("citations")))):
            self._sources.setdefault(found.url or found.title or "", found)
        for image in as_list(delta.get("images")):
            self._read_image(image)
        for number, call in enumerate(as_list(delta.get("tool_calls"))):
            if isinstance(call, dict):
                self._read_call(call, number, whole)
        if isinstance(legacy := delta.get("function_call"), dict):
            self._read_call({"function": legacy, "index": "function"}, 0, False)
        audio = as_dict(delta.get("audio"))
        self._read_content(audio.get("transcript"))
        if whole and audio.get("data"):
            self._extra["audio"] = dict(audio)

    def _read_reasoning(self, delta: Mapping[str, Any], whole: bool) -> None:
        """Reads one of the reasoning fields: where both exist they have the same text."""
        details = as_dicts(delta.get("reasoning_details"))
        for detail in details:
            self._collect_details().add(detail, whole)
        for name in REASONING_FIELDS:
            if text := as_text(delta.get(name)):
                self._collect_details().field = name
                self._parts.add_reasoning(text)
                return
        for detail in details:
            self._parts.add_reasoning(as_text(detail.get("text")) or as_text(detail.get("summary")))

    def _read_content(self, content: object) -> None:
        """Reads a text, or a list of text, reasoning, image and reference parts (Mistral)."""
        if isinstance(content, str):
            if content:
                if not self._parts.in_text:
                    self._end_reasoning()
                    self._part_start = self._characters
                self._characters += len(content)
                self._parts.add_text(content)
            return
        for part in as_list(content):
            if not isinstance(part, dict):
                continue
            if part.get("type") == "thinking":
                self._collect_details().note_content_part()
                inner = part.get("thinking")
                for block in as_list(inner) if not isinstance(inner, str) else [{"text": inner}]:
                    self._parts.add_reasoning(as_text(as_dict(block).get("text")))
            elif part.get("type") == "image_url":
                self._read_image(part)
            elif (citation := read_reference(part)) is not None:
                self._parts.add_citation(citation)
            else:
                self._read_content(as_text(part.get("text")) or as_text(part.get("refusal")))

    def _collect_details(self) -> ReasoningDetails:
        if self._details is None:
            self._details = ReasoningDetails()
        return self._details

    def _end_reasoning(self) -> None:
        """Ends an open reasoning part with what must be sent back with it."""
        if self._parts.in_reasoning:
            self._parts.end_open_part(self._collect_details().take(self._engine.issuer))

    def _read_annotation(self, wire: Mapping[str, Any]) -> None:
        """Reads a citation, or OpenRouter's parsed file, which has to be sent back or is parsed (and paid) again."""
        if wire.get("type") == "file":
            metadata = (ProviderMetadata(NAME, self._engine.issuer, {"annotations": [dict(wire)]}),)
            self._parts.add_whole_part(UnknownPart(metadata))
            return
        if not self._parts.in_text:
            self._part_start = self._characters
        citation = read_citation(wire, self._part_start, self._engine.issuer)
        if citation is not None:
            self._parts.add_citation(citation)

    def _read_image(self, wire: object) -> None:
        image = as_dict(wire).get("image_url")
        url = as_text(image) or as_text(as_dict(image).get("url"))
        head, comma, data = url.partition(";base64,")
        if comma and head.startswith("data:"):
            self._parts.add_whole_part(Media(mime=head[5:], base64=data))
        elif url:
            self._parts.add_whole_part(Media(mime="image/png", url=url))

    def _read_call(self, wire: Mapping[str, Any], number: int, whole: bool) -> None:
        inner = as_dict(wire.get("function")) or as_dict(wire.get("custom"))
        name = as_text(inner.get("name"))
        call = self._find_call(wire, number, name, whole)
        call.add(wire)
        if call.name:
            self._emit_call(call)

    def _emit_call(self, call: StreamedCall) -> None:
        if call.index is None:
            self._end_reasoning()
            # Some hosts send no id, or one id twice: results could not be matched to their calls.
            id = call.id if call.id and call.id not in self._call_ids else f"call_{token_hex(12)}"
            self._call_ids |= {id}
            call.index = self._parts.open_call(id, call.name)
        self._parts.add_arguments(call.index, call.take())

    def _find_call(self, wire: Mapping[str, Any], number: int, name: str, whole: bool) -> StreamedCall:
        """Finds a call by its position in a whole answer; in a stream by index, else by id, else the last one."""
        id = as_text(wire.get("id"))
        if id == "null":  # sent by Mistral at times instead of no id
            id = ""
        key: object = number if whole else wire.get("index")
        if isinstance(key, list | dict):
            key = None
        if key is None:
            call = next((call for call in self._calls.values() if id and call.id == id), None)
            if call is None and self._last_call is not None and self._last_call.continues_with(id, name):
                call = self._last_call
            key = object()
        else:
            call = self._calls.get(key)
            if call is not None and call.is_followed_by(id, name):
                self._calls[object()] = call
                call = None
        if call is None:
            call = self._calls[key] = StreamedCall(id)
        call.id = call.id or id
        self._last_call = call
        return call

    def _end(self) -> list[Event]:
        if not self._started:
            self._start({})
        self._end_reasoning()
        for citation in self._sources.values():
            self._parts.add_citation(citation)
        for call in self._calls.values():
            if call.index is None and (call.fragments or call.id):
                raise Malformed(f"{self._engine.label} sent a tool call without a name.", engine=self._engine.name)
            if call.index is not None:
                metadata: Metadata = (
                    (ProviderMetadata(NAME, self._engine.issuer, call.metadata),) if call.metadata else ()
                )
                call.end()
                self._parts.add_arguments(call.index, call.take())
                self._parts.end_open_part()
                self._parts.end_call(call.index, metadata)
        if self._details:
            self._parts.add_reasoning("", withheld=True)
            self._parts.end_open_part(self._details.take(self._engine.issuer))
        self._parts.end_all()
        if self._usage is not None:
            self._parts.events.append(UsageReported(self._usage))
        self._parts.events.append(self._build_finished())
        self.done = True
        return self._parts.take_events()

    def _build_finished(self) -> Finished:
        parts = self._parts
        reason = final_finish_reason(read_finish_reason(self._finish or ""), parts.has_client_call, parts.has_output)
        metadata = unknown_fields(self._extra, (), NAME, self._engine.issuer)
        stop = self._stop_sequence if reason == "stop" else None
        category = self._category
        if category is None and reason == "filtered" and self._finish != "content_filter":
            category = self._finish
        return Finished(reason, self._finish, metadata, self._explanation, category, stop)


create_framing = SseDecoder  # cuts a streamed answer into frames
create_reader = ChunkReader  # reads one streamed answer


def _extend_logprobs(logprobs: Json, more: Mapping[str, Any]) -> None:
    """Appends the log probabilities of the next tokens."""
    if isinstance(logprobs, dict):
        for name, tokens in more.items():
            if isinstance(tokens, list):
                collected = logprobs.setdefault(name, [])
                assert isinstance(collected, list)
                collected += tokens


def read_reply(body: Any, engine: Engine) -> Reply:
    """Reads a whole completion. Raises ``Malformed`` if it has no choice, and the error inside a 200 response."""
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} answered with something other than a completion.", engine=engine.name)
    if (failed := find_error(body)) is not None:
        raise build_error(0, failed, engine)
    if not as_list(body.get("choices")):
        raise Malformed(f"{engine.label} answered without any choice.", engine=engine.name)
    chunks = ChunkReader(engine)
    chunks._read_chunk(body, whole=True)
    return collect(chunks._end())
