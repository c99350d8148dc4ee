"""From an engine: a streamed answer as events, a whole one as a reply."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import Event, Finished, FinishReason, Piece, Started, TextDelta, UsageReported, settled
from llm.chat.messages import Citation, Foreign, Media, Ran, Text, Usage
from llm.chat.parts_manager import Flow
from llm.chat.provider_metadata import Keep, Opaque, rest_of
from llm.chat.reply import Reply, collect
from llm.dialects.gemini.engine_errors import error_of
from llm.dialects.gemini.shared import NAME
from llm.engines.engine import Engine
from llm.errors import ContentBlocked, Malformed, ProviderSaid, Truncated
from llm.wire.frames import MAX_FRAME, Frame, Framing
from llm.wire.json_codec import dumps, loads
from llm.wire.json_lenient import count_of, dict_of, dicts_of, text_of
from llm.wire.sse import Sse

_FINISH: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "filtered",
    "RECITATION": "filtered",
    "LANGUAGE": "filtered",
    "BLOCKLIST": "filtered",
    "PROHIBITED_CONTENT": "filtered",
    "SPII": "filtered",
    "IMAGE_SAFETY": "filtered",
    "IMAGE_PROHIBITED_CONTENT": "filtered",
    "IMAGE_RECITATION": "filtered",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}
_FINISH_NUMBERS: Final = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")


def framing(most: int = MAX_FRAME) -> Framing:
    return Sse(most)


def reader(engine: Engine) -> ContentReader:
    return ContentReader(engine)


class ContentReader:
    """The chunks of one answer."""

    noise = None
    unlike = None
    needs_text = True

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._flow = Flow()
        self._started = False
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._text = StringIO()  # the whole answer's, which grounding counts in
        self._before = 0  # characters of it before the open part
        self._signature: Keep = ()  # of the open part, which grounding may still cite for
        self._cited: set[tuple[object, ...]] = set()
        self._code = ""  # id of the code that the provider ran last

    def feed(self, frame: Frame) -> list[Event]:
        if self.done or frame.data.strip() == "[DONE]":
            return []
        try:
            wire = loads(frame.data)
        except ValueError:
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, list):
            wire = next((one for one in wire if isinstance(one, dict)), None)
        if isinstance(wire, dict):
            self._chunk(wire)
        return self._flow.take()

    def skipped(self, piece: Piece) -> None:
        if isinstance(piece, TextDelta):
            self._text.write(piece.text)

    def close(self) -> list[Event]:
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        self._flow.end_all()
        if self._usage is not None:
            self._flow.out.append(UsageReported(self._usage))
        reason = _FINISH.get(self._finish, "other")
        self._flow.out.append(Finished(settled(reason, self._flow.called), self._finish))
        self.done = True
        return self._flow.take()

    def _chunk(self, wire: Mapping[str, Any]) -> None:
        if wire.get("error"):
            raise error_of(0, wire, self._engine)
        if not self._started:
            self._started = True
            self._flow.out.append(Started(text_of(wire.get("responseId")), text_of(wire.get("modelVersion"))))
        blocked = dict_of(wire.get("promptFeedback")).get("blockReason")
        if isinstance(blocked, str) and not wire.get("candidates"):
            said = ProviderSaid(
                0, blocked, None, text_of(dict_of(wire.get("promptFeedback")).get("blockReasonMessage")) or None
            )
            raise ContentBlocked(f"{self._engine.label} blocked the prompt ({blocked}).", provider=said)
        candidates = wire.get("candidates")
        for candidate in candidates[:1] if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                self._candidate(candidate)
        if isinstance(usage := wire.get("usageMetadata"), dict):
            self._usage = _read_usage(usage)

    def _candidate(self, wire: Mapping[str, Any]) -> None:
        parts = dict_of(wire.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                self._part(part)
        self._ground(dict_of(wire.get("groundingMetadata")))
        for source in dicts_of(dict_of(wire.get("citationMetadata")).get("citationSources")):
            self._cite(Citation(url=text_of(source.get("uri")) or None, title=text_of(source.get("title")) or None))
        self._sign()
        self._finish = _finish_word(wire.get("finishReason")) or self._finish

    def _sign(self) -> None:
        """A part with a signature ends with it: it is never merged with the next."""
        if self._signature:
            self._flow.end_open(self._signature)
            self._signature = ()

    def _part(self, wire: Mapping[str, Any]) -> None:
        self._sign()
        issuer = self._engine.issuer
        if isinstance(wire.get("functionCall"), dict):
            self._call(wire, wire["functionCall"])
        elif isinstance(wire.get("text"), str):
            keep = rest_of(wire, ("text", "thought"), NAME, issuer)
            if wire.get("thought"):
                self._flow.reasoning(wire["text"], withheld=bool(keep))
            elif wire["text"] or not keep:
                if not self._flow.speaking:
                    self._before = self._text.tell()
                self._flow.text(wire["text"])
                self._text.write(wire["text"])
            elif not self._flow.speaking:
                self._flow.whole(Text("", keep=keep))
                return
            self._signature = keep
        elif isinstance(data := wire.get("inlineData"), dict) and isinstance(data.get("data"), str):
            keep = rest_of(wire, ("inlineData",), NAME, issuer)
            self._flow.whole(Media(mime=text_of(data.get("mimeType")), base64=data["data"], keep=keep))
        elif wire:
            self._flow.whole(Foreign((Opaque(NAME, issuer, dict(wire)),), self._ran(wire)))

    def _ran(self, wire: Mapping[str, Any]) -> Ran | None:
        """Code that the provider ran, or what became of it: the next part, or the one with its id."""
        if code := dict_of(wire.get("executableCode")):
            self._code = text_of(code.get("id")) or f"call_{token_hex(12)}"
            given = dumps({name: value for name, value in code.items() if name != "id"})
            return Ran(id=self._code, name="code_execution", arguments=given, state="running")
        if done := dict_of(wire.get("codeExecutionResult")):
            failed = done.get("outcome") not in (None, "OUTCOME_OK", "OUTCOME_UNSPECIFIED")
            id = text_of(done.get("id")) or self._code
            return Ran(id=id, state="error" if failed else "completed", result=done.get("output"))
        return None

    def _call(self, wire: Mapping[str, Any], call: Mapping[str, Any]) -> None:
        index = self._flow.call(text_of(call.get("id")) or f"call_{token_hex(12)}", text_of(call.get("name")))
        if args := call.get("args"):
            self._flow.arguments(index, dumps(args))
        self._flow.end_call(index, rest_of(wire, ("functionCall",), NAME, self._engine.issuer))

    def _ground(self, wire: Mapping[str, Any]) -> None:
        chunks = dicts_of(wire.get("groundingChunks"))
        for support in dicts_of(wire.get("groundingSupports")):
            segment = dict_of(support.get("segment"))
            start, end = self._offset(segment.get("startIndex") or 0), self._offset(segment.get("endIndex"))
            if start is None or end is None:
                start = end = None
            numbers = support.get("groundingChunkIndices")
            for number in numbers if isinstance(numbers, list) else ():
                if isinstance(number, int) and 0 <= number < len(chunks):
                    web = dict_of(chunks[number].get("web")) or dict_of(chunks[number].get("retrievedContext"))
                    url, title = text_of(web.get("uri")) or None, text_of(web.get("title")) or None
                    self._cite(
                        Citation(url=url, title=title, quote=text_of(segment.get("text")) or None, start=start, end=end)
                    )

    def _offset(self, at: object) -> int | None:
        """Characters into the open part; grounding counts bytes of UTF-8 into the whole answer (T5)."""
        if not isinstance(at, int) or at < 0 or not self._flow.speaking:
            return None
        inside = len(self._text.getvalue().encode()[:at].decode(errors="ignore")) - self._before
        return inside if inside >= 0 else None

    def _cite(self, citation: Citation) -> None:
        """The same grounding may be told in every chunk."""
        mark = (citation.url, citation.title, citation.start, citation.end)
        if mark not in self._cited:
            self._cited.add(mark)
            self._flow.cite(citation)


def _finish_word(value: object) -> str:
    """Hosts that keep the wire's enumeration send its numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _FINISH_NUMBERS[value] if 0 <= value < len(_FINISH_NUMBERS) else str(value)
    return text_of(value)


def _read_usage(wire: Mapping[str, Any]) -> Usage:
    prompt = count_of(wire.get("promptTokenCount"))
    hosted = count_of(wire.get("toolUsePromptTokenCount")) or 0  # what hosted tools brought in is input as well
    cached = min(count_of(wire.get("cachedContentTokenCount")) or 0, prompt or 0)
    thoughts = count_of(wire.get("thoughtsTokenCount")) or 0
    output = count_of(wire.get("candidatesTokenCount"))
    return Usage(
        fresh=None if prompt is None else prompt - cached + hosted,
        cache_read=cached,
        text=output or 0,
        reasoning=thoughts,
        other={"tool_input": hosted} if hosted else {},
    )


def read_reply(body: Any, engine: Engine) -> Reply:
    """One object, or the chunks of a stream as a list (``alt=sse`` was lost on the way)."""
    reading = ContentReader(engine)
    for wire in body if isinstance(body, list) else [body]:
        if not isinstance(wire, dict):
            raise Malformed(f"{engine.label} answered with something other than content.", engine=engine.name)
        reading._chunk(wire)
    return collect(reading.close())
