"""Reads an engine's answers: a stream of chunks as events, a whole answer as a Reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    AnyDelta,
    Continuation,
    Event,
    Finished,
    Started,
    TextDelta,
    UsageReported,
    final_finish_reason,
)
from llm.chat.messages import Citation, Media, ProviderToolRun, Text, UnknownPart, Usage
from llm.chat.parts_manager import PartsManager
from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.chat.reply import Reply, collect
from llm.dialects.gemini.engine_calls import StreamedCall
from llm.dialects.gemini.engine_errors import build_error
from llm.dialects.gemini.shared import FINISH_REASONS, INTERRUPTED, NAME, WEB_RUN
from llm.engines.engine import Engine
from llm.errors import ContentBlocked, Malformed, ProviderErrorDetails, Truncated
from llm.wire.frames import Frame
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text
from llm.wire.sse import SseDecoder

# The values of the wire's enumeration by number, which some hosts send instead of names.
_FINISH_NUMBERS: Final = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")


class ContentReader:
    """Reads the chunks of one answer."""

    volatile_fields = None
    stateful_fields = None
    needs_text = True

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._streamed: StreamedCall | None = None  # a call whose arguments still come
        self._call_metadata: Metadata = ()
        self._parts = PartsManager()
        self._started = False
        self._finish: str | None = None
        self._explanation: str | None = None  # of the finish reason
        self._sources: list[Citation] = []  # of the grounding
        self._queries: list[str] = []  # of searches
        self._tells_runs = False  # searches are parts of the answer
        self._pages: dict[str, Citation] = {}  # read by the model, by URL
        self._token = ""  # with which the same request goes on
        self._usage: Usage | None = None
        self._text = StringIO()  # of the whole answer: grounding offsets count in it
        self._part_start = 0  # characters of text before the open part
        self._signature: Metadata = ()  # of the open part, which stays open for its citations
        self._citations: set[tuple[object, ...]] = set()  # emitted
        self._code_id = ""  # id of the code that the provider executed last

    def feed(self, frame: Frame) -> list[Event]:
        """Reads one chunk. Raises an ``LLMError`` for an error chunk, ``Malformed`` for a chunk that is not JSON."""
        if self.done or frame.data.strip() == "[DONE]":
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, list):
            wire = next((one for one in wire if isinstance(one, dict)), None)
        if isinstance(wire, dict):
            self._read_chunk(wire)
        return self._parts.take_events()

    def note_delta(self, delta: AnyDelta) -> None:
        """Adds the text of a delta that was not fed."""
        if isinstance(delta, TextDelta):
            self._text.write(delta.text)

    def close(self) -> list[Event]:
        """Ends the stream. Raises ``Truncated`` if there was no finish reason."""
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        if not self._citations:  # what was found, where the answer does not tell which words rest on it
            for source in self._sources or self._pages.values():
                self._cite(source)
        continuation = self._build_continuation()
        if continuation is None and not self._tells_runs:
            self._add_web_runs()
        self._end_streamed_call(complete=False)
        self._parts.end_all()
        if self._usage is not None:
            self._parts.events.append(UsageReported(self._usage))
        parts = self._parts
        reason = final_finish_reason(FINISH_REASONS.get(self._finish, "other"), parts.has_client_call, parts.has_output)
        explanation = self._explanation if reason != "stop" else None
        category = self._finish if reason == "filtered" else None
        parts.events.append(
            Finished(reason, self._finish, explanation=explanation, category=category, continuation=continuation)
        )
        self.done = True
        return self._parts.take_events()

    def _add_web_runs(self) -> None:
        """Adds the search and the page look-ups, which this wire tells only beside the answer."""
        sources: list[Json] = [{"url": one.url, "title": one.title} for one in self._sources if one.url]
        if self._queries:
            more: dict[str, Json] = {"queries": [*self._queries]} if len(self._queries) > 1 else {}
            self._add_web_run("web_search", {"query": self._queries[0], **more}, sources)
        for url in self._pages:
            self._add_web_run("web_fetch", {"url": url}, {"url": url})

    def _add_web_run(self, name: str, asked: dict[str, Json], result: Json) -> None:
        id, arguments = f"call_{token_hex(12)}", dumps(asked)
        index = self._parts.open_call(id, name, "provider")
        self._parts.add_arguments(index, arguments)
        run = ProviderToolRun(id=id, name=name, arguments=arguments, state="completed", result=result)
        # Its own engine needs none of it back.
        fields: dict[str, Json] = {"type": "groundingMetadata", WEB_RUN: asked}
        self._parts.end_call(index, (ProviderMetadata(NAME, self._engine.issuer, fields),), run)

    def _build_continuation(self) -> Continuation | None:
        """Returns how to go on with an answer that has reached the limit of one request, not its own."""
        if self._finish != INTERRUPTED or not self._token:
            return None
        parts = self._parts
        return Continuation({"continuationToken": self._token}, parts.part_count, parts.open_kind)

    def _read_chunk(self, wire: Mapping[str, Any]) -> None:
        if wire.get("error"):
            raise build_error(0, wire, self._engine)
        if not self._started:
            self._started = True
            id, model = as_text(wire.get("responseId")), as_text(wire.get("modelVersion"))
            counted = _read_usage(as_dict(wire.get("usageMetadata"))).fresh
            self._parts.events.append(Started(id, model, input_tokens=counted))
        blocked = as_dict(wire.get("promptFeedback")).get("blockReason")
        if isinstance(blocked, str) and not wire.get("candidates"):
            words = as_text(as_dict(wire.get("promptFeedback")).get("blockReasonMessage"))
            message = f"{self._engine.label} blocked the prompt ({blocked}){': ' + words if words else '.'}"
            raise ContentBlocked(message, provider=ProviderErrorDetails(0, blocked, None, words or None))
        candidates = wire.get("candidates")
        for candidate in candidates[:1] if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                self._read_candidate(candidate)
        if isinstance(usage := wire.get("usageMetadata"), dict):
            self._usage = _read_usage(usage)

    def _read_candidate(self, wire: Mapping[str, Any]) -> None:
        parts = as_dict(wire.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                self._read_part(part)
        self._read_grounding(as_dict(wire.get("groundingMetadata")))
        cited = as_dict(wire.get("citationMetadata"))
        for source in as_dicts(cited.get("citationSources") or cited.get("citations")):
            self._cite(Citation(url=as_text(source.get("uri")) or None, title=as_text(source.get("title")) or None))
        for page in as_dicts(as_dict(wire.get("urlContextMetadata")).get("urlMetadata")):
            if (url := as_text(page.get("retrievedUrl"))) and "ERROR" not in as_text(page.get("urlRetrievalStatus")):
                self._pages[url] = Citation(url)
        self._end_signed_part()
        self._finish = _read_finish(wire.get("finishReason")) or self._finish
        self._explanation = as_text(wire.get("finishMessage")) or self._explanation
        self._token = as_text(wire.get("continuationToken")) or self._token  # a stream has one in several chunks

    def _end_signed_part(self) -> None:
        """Ends a part with a signature, so that it is not merged with the next one."""
        if self._signature:
            self._parts.end_open_part(self._signature)
            self._signature = ()

    def _read_part(self, wire: Mapping[str, Any]) -> None:
        self._end_signed_part()
        issuer = self._engine.issuer
        if isinstance(wire.get("functionCall"), dict):
            self._read_call(wire, wire["functionCall"])
        elif isinstance(wire.get("text"), str):
            metadata = unknown_fields(wire, ("text", "thought"), NAME, issuer)
            if wire.get("thought"):
                self._parts.add_reasoning(wire["text"], withheld=bool(metadata))
            elif wire["text"] or not metadata:
                if not self._parts.in_text:
                    self._part_start = self._text.tell()
                self._parts.add_text(wire["text"])
                self._text.write(wire["text"])
            elif not self._parts.in_text:
                self._parts.add_whole_part(Text("", metadata=metadata))
                return
            self._signature = metadata
        elif isinstance(data := wire.get("inlineData"), dict) and isinstance(data.get("data"), str):
            if wire.get("thought"):  # a draft: only a signed one has to be sent back
                if "thoughtSignature" in wire:
                    self._parts.add_whole_part(UnknownPart((ProviderMetadata(NAME, issuer, dict(wire)),)))
                return
            metadata = unknown_fields(wire, ("inlineData",), NAME, issuer)
            self._parts.add_whole_part(
                Media(mime=as_text(data.get("mimeType")), base64=data["data"], metadata=metadata)
            )
        elif wire:
            self._parts.add_whole_part(
                UnknownPart((ProviderMetadata(NAME, issuer, dict(wire)),), self._read_code(wire))
            )

    def _read_code(self, wire: Mapping[str, Any]) -> ProviderToolRun | None:
        """Code that the provider executes, or its result: the next part, or the part with the same id."""
        if code := as_dict(wire.get("executableCode")):
            self._code_id = as_text(code.get("id")) or f"call_{token_hex(12)}"
            arguments = dumps({name: value for name, value in code.items() if name != "id"})
            return ProviderToolRun(id=self._code_id, name="code_execution", arguments=arguments, state="running")
        if called := as_dict(wire.get("toolCall")):  # told if functions stand beside the tool
            self._tells_runs = True
            asked, id = as_dict(called.get("args")), as_text(called.get("id")) or f"call_{token_hex(12)}"
            name = "web_fetch" if as_text(called.get("toolType")).startswith("URL_") else "web_search"
            return ProviderToolRun(id=id, name=name, arguments=dumps(asked), state="running")
        if done := as_dict(wire.get("codeExecutionResult")):
            failed = done.get("outcome") not in (None, "OUTCOME_OK", "OUTCOME_UNSPECIFIED")
            id = as_text(done.get("id")) or self._code_id
            return ProviderToolRun(id=id, state="error" if failed else "completed", result=done.get("output"))
        return None

    def _read_call(self, wire: Mapping[str, Any], call: Mapping[str, Any]) -> None:
        name = as_text(call.get("name"))
        if name or self._streamed is None:
            self._end_streamed_call(complete=False)
            self._streamed = StreamedCall(
                self._parts.open_call(as_text(call.get("id")) or f"call_{token_hex(12)}", name)
            )
        self._streamed.add(call)
        self._call_metadata = self._call_metadata or unknown_fields(wire, ("functionCall",), NAME, self._engine.issuer)
        if not call.get("willContinue"):
            self._end_streamed_call(complete=True)

    def _end_streamed_call(self, *, complete: bool) -> None:
        call, self._streamed = self._streamed, None
        if call is not None:
            arguments = call.write(complete=complete)
            if arguments != "{}":
                self._parts.add_arguments(call.index, arguments)
            self._parts.end_call(call.index, self._call_metadata)
            self._call_metadata = ()

    def _read_grounding(self, wire: Mapping[str, Any]) -> None:
        chunks = as_dicts(wire.get("groundingChunks"))
        queries = [query for query in as_list(wire.get("webSearchQueries")) if isinstance(query, str)]
        self._queries = queries or self._queries
        self._sources = [_read_source(chunk) for chunk in chunks] or self._sources
        for support in as_dicts(wire.get("groundingSupports")):
            segment = as_dict(support.get("segment"))
            start = self._to_part_offset(segment.get("startIndex") or 0)
            end = self._to_part_offset(segment.get("endIndex"))
            if start is None or end is None:
                start = end = None
            numbers = support.get("groundingChunkIndices")
            for number in numbers if isinstance(numbers, list) else ():
                if isinstance(number, int) and 0 <= number < len(chunks):
                    quote = as_text(segment.get("text")) or None
                    self._cite(replace(_read_source(chunks[number]), quote=quote, start=start, end=end))

    def _to_part_offset(self, byte_offset: object) -> int | None:
        """Converts UTF-8 bytes in the whole answer to characters in the open part (T5: offsets count in the part)."""
        if not isinstance(byte_offset, int) or byte_offset < 0 or not self._parts.in_text:
            return None
        offset = len(self._text.getvalue().encode()[:byte_offset].decode(errors="ignore")) - self._part_start
        return offset if offset >= 0 else None

    def _cite(self, citation: Citation) -> None:
        """Emits a citation once, since each chunk may repeat the grounding."""
        key = (citation.url, citation.title, citation.start, citation.end)
        if key not in self._citations:
            self._citations.add(key)
            self._parts.add_citation(citation)


create_framing = SseDecoder  # cuts a streamed answer into frames
create_reader = ContentReader  # reads one streamed answer


def _read_source(chunk: Mapping[str, Any]) -> Citation:
    """Reads a source of a search in the web, in files, in Google Maps or for images."""
    found = next((as_dict(chunk[name]) for name in ("web", "retrievedContext", "maps", "image") if name in chunk), {})
    url = as_text(found.get("uri")) or as_text(found.get("sourceUri")) or as_text(found.get("imageUri"))
    return Citation(url or None, as_text(found.get("title")) or as_text(found.get("domain")) or None)


def _read_finish(value: object) -> str:
    """Some hosts send the number of the enumeration value instead of its name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _FINISH_NUMBERS[value] if 0 <= value < len(_FINISH_NUMBERS) else str(value)
    return as_text(value)


def _read_usage(wire: Mapping[str, Any]) -> Usage:
    prompt = as_count(wire.get("promptTokenCount"))
    hosted = as_count(wire.get("toolUsePromptTokenCount")) or 0  # input from hosted tools
    cached = min(as_count(wire.get("cachedContentTokenCount")) or 0, prompt or 0)
    thoughts = as_count(wire.get("thoughtsTokenCount")) or 0
    output = as_count(wire.get("candidatesTokenCount"))
    return Usage(
        fresh=None if prompt is None else prompt - cached + hosted,
        cache_read=cached,
        text=output or 0,
        reasoning=thoughts,
        other={"tool_input": hosted} if hosted else {},
    )


def read_reply(body: Any, engine: Engine) -> Reply:
    """Reads a whole answer: one object, or the list of chunks that a host sends if it ignores ``alt=sse``."""
    chunks = ContentReader(engine)
    for wire in body if isinstance(body, list) else [body]:
        if not isinstance(wire, dict):
            raise Malformed(f"{engine.label} answered with something other than content.", engine=engine.name)
        chunks._read_chunk(wire)
    return collect(chunks.close())
