"""From an engine: a streamed answer as events, a whole one as a reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import Event, Finished, Piece, Started, TextDelta, ToolCallDelta, UsageReported, settled
from llm.chat.messages import Citation, Media, Usage
from llm.chat.parts_manager import Flow
from llm.chat.provider_metadata import Keep, Opaque, rest_of
from llm.chat.reply import Reply, collect
from llm.dialects.openai_chat.engine_errors import error_in, error_of
from llm.dialects.openai_chat.shared import FINISH, NAME, READ_REASONING, ReasoningDetails, read_usage
from llm.dialects.openai_common import NOISE
from llm.engines.engine import Engine
from llm.errors import Malformed, Truncated
from llm.wire.frames import MAX_FRAME, Frame, Framing
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_lenient import count_of, dict_of, dicts_of, list_of, text_of
from llm.wire.sse import Sse

_TEXT: Final = frozenset({"role", "content"})  # fields of a piece of the answer that is nothing but text
# A name may begin another call, and all of the details of a thought is kept.
_UNLIKE: Final = re.compile(rb'"(?:name|reasoning_details)"')
_CALL: Final = ("index", "id", "type", "function", "custom")


def framing(most: int = MAX_FRAME) -> Framing:
    return Sse(most)


def reader(engine: Engine) -> ChunkReader:
    return ChunkReader(engine)


class _Call:
    """A tool call on its way: it is told once its name is known."""

    __slots__ = ("id", "index", "keep", "name", "pieces", "told")

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.pieces: list[str] = []  # of its arguments
        self.told = 0  # so many of them
        self.index: int | None = None
        self.keep: dict[str, Json] = {}

    def complete(self) -> bool:
        """Its arguments are one JSON text already."""
        last = next((piece.rstrip() for piece in reversed(self.pieces) if not piece.isspace()), "")
        if len(self.pieces) > 2 and not last.endswith("}"):  # what comes in pieces is an object
            return False  # without joining all of them for each one (O3)
        try:
            loads("".join(self.pieces))
        except ValueError:
            return False
        return True

    def parted_from(self, id: str, name: str) -> bool:
        """Whether a piece with this name, under the index of this call, is the beginning of another one.

        Hosts that give no ids number all their calls 0 (S5); others repeat the name with each piece.
        """
        if not name:
            return False
        if id and self.id:
            return id != self.id
        return bool(self.name) and (name != self.name or self.complete())

    def goes_on(self, id: str, name: str) -> bool:
        """Whether a piece that bears no index, nor the id of any call, is of this one, the last."""
        return not name or (not id and name == self.name and bool(self.pieces) and not self.complete())


class ChunkReader:
    """The chunks of one stream, which ends with ``[DONE]``, or on some hosts after a finish reason by closing."""

    noise = NOISE
    unlike = _UNLIKE
    needs_text = False

    __slots__ = (
        "_base",
        "_calls",
        "_details",
        "_engine",
        "_extra",
        "_finish",
        "_flow",
        "_ids",
        "_last",
        "_said",
        "_sources",
        "_started",
        "_usage",
        "done",
    )

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._flow = Flow()
        self._started = False
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._details = ReasoningDetails()
        self._said = 0  # characters of text so far
        self._base = 0  # those before the text part that is open
        self._calls: dict[object, _Call] = {}
        self._last: _Call | None = None
        self._ids: frozenset[str] = frozenset()  # that were given to calls
        self._sources: dict[str, str | None] = {}  # address to title; Perplexity repeats them in every chunk
        self._extra: dict[str, Json] = {}

    def feed(self, frame: Frame) -> list[Event]:
        if self.done:
            return []
        data = frame.data.strip()
        if data == "[DONE]":
            return self._ended()
        try:
            wire = loads(data)
        except ValueError:
            if frame.event == "error":
                raise error_of(0, {"error": data}, self._engine) from None
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, list) and wire:
            wire = wire[0]  # Google puts its errors in a list
        if isinstance(wire, dict):
            failed = wire if frame.event == "error" else error_in(wire)
            if failed is not None:
                raise error_of(0, failed, self._engine)
            self._chunk(wire)
        return self._flow.take()

    def skipped(self, piece: Piece) -> None:
        if isinstance(piece, TextDelta):
            self._said += len(piece.text)
        elif isinstance(piece, ToolCallDelta):
            for call in self._calls.values():
                if call.index == piece.index:
                    call.pieces.append(piece.arguments)
                    call.told = len(call.pieces)

    def close(self) -> list[Event]:
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        return self._ended()

    # Most chunks have few of these fields: what is not there is not asked for what it holds.

    def _chunk(self, wire: Mapping[str, Any], whole: bool = False) -> None:
        choices = list_of(wire["choices"]) if "choices" in wire else ()
        if not self._started and (choices or text_of(wire.get("id"))):
            self._start(wire)
        if "usage" in wire or "x_groq" in wire:
            self._account(wire.get("usage") or dict_of(wire.get("x_groq")).get("usage"))
        for choice in choices:
            if isinstance(choice, dict) and not ((index := choice.get("index")) and count_of(index)):
                self._choice(choice, whole)
        if "citations" in wire or "search_results" in wire:
            self._source(wire)

    def _source(self, wire: Mapping[str, Any]) -> None:
        for url in list_of(wire.get("citations")):
            if isinstance(url, str):
                self._sources.setdefault(url, None)
        for found in dicts_of(wire.get("search_results")):
            if (url := text_of(found.get("url"))) in self._sources:
                self._sources[url] = text_of(found.get("title")) or None

    def _start(self, wire: Mapping[str, Any]) -> None:
        self._started = True
        self._flow.out.append(Started(text_of(wire.get("id")), text_of(wire.get("model"))))

    def _account(self, usage: object) -> None:
        if isinstance(usage, dict):
            told = read_usage(usage, reasoning_inside=self._engine.quirks.reasoning_in_output)
            if told != self._usage and (told.fresh is not None or told.text is not None):
                self._usage = told

    def _choice(self, choice: Mapping[str, Any], whole: bool) -> None:
        delta = dict_of(choice.get("delta"))
        if "message" in choice:
            # Perplexity sends both in either form, the other one empty or with all that was said so far.
            message = dict_of(choice["message"])
            delta = message or delta if whole else delta or message
        if "usage" in choice:  # Moonshot
            self._account(choice["usage"])
        if delta.keys() <= _TEXT:  # as it is in most chunks
            self._say(delta.get("content"))
        else:
            self._parts(delta, whole)
        if "logprobs" in choice and isinstance(choice["logprobs"], dict):
            _extend(self._extra.setdefault("logprobs", {}), choice["logprobs"])
        if choice.get("finish_reason"):
            self._finish = text_of(choice["finish_reason"]) or self._finish

    def _parts(self, delta: Mapping[str, Any], whole: bool) -> None:
        self._think(delta, whole)
        self._say(delta.get("content"))
        self._say(delta.get("refusal"))
        for annotation in list_of(delta.get("annotations")):
            self._annotate(annotation)
        for image in list_of(delta.get("images")):
            self._image(image)
        for number, call in enumerate(list_of(delta.get("tool_calls"))):
            if isinstance(call, dict):
                self._call(call, number, whole)
        if isinstance(legacy := delta.get("function_call"), dict):
            self._call({"function": legacy, "index": "function"}, 0, False)
        if whole and dict_of(delta.get("audio")).get("data"):
            self._extra["audio"] = dict(delta["audio"])

    def _think(self, delta: Mapping[str, Any], whole: bool) -> None:
        """Where both fields are there they repeat each other."""
        details = dicts_of(delta.get("reasoning_details"))
        for detail in details:
            self._details.add(detail, whole)
        for name in READ_REASONING:
            if thought := text_of(delta.get(name)):
                self._flow.reasoning(thought)
                return
        for detail in details:
            self._flow.reasoning(text_of(detail.get("text")) or text_of(detail.get("summary")))

    def _say(self, content: object) -> None:
        """Text, or a list of parts of text and thought (Mistral)."""
        if isinstance(content, str):
            if content:
                if not self._flow.speaking:
                    self._end_thought()
                    self._base = self._said
                self._said += len(content)
                self._flow.text(content)
            return
        for part in list_of(content):
            if not isinstance(part, dict):
                continue
            if part.get("type") == "thinking":
                inner = part.get("thinking")
                for piece in list_of(inner) if not isinstance(inner, str) else [{"text": inner}]:
                    self._flow.reasoning(text_of(dict_of(piece).get("text")))
            elif part.get("type") == "image_url":
                self._image(part)
            else:
                self._say(text_of(part.get("text")) or text_of(part.get("refusal")))

    def _end_thought(self) -> None:
        """Closes an open thought with what has to come back with it."""
        if self._details and self._flow.thinking:
            self._flow.end_open(self._detail_keep())

    def _detail_keep(self) -> Keep:
        return (Opaque(NAME, self._engine.issuer, {"reasoning_details": self._details.take()}),)

    def _annotate(self, wire: object) -> None:
        """The wire's offsets count in all the text of the answer, ours in the part that is open."""
        cited = dict_of(dict_of(wire).get("url_citation"))
        if cited:
            if not self._flow.speaking:
                self._base = self._said
            start, end = count_of(cited.get("start_index")), count_of(cited.get("end_index"))
            if start is None or end is None or not self._base <= start <= end:
                start = end = None
            else:
                start, end = start - self._base, end - self._base
            self._flow.cite(
                Citation(
                    url=text_of(cited.get("url")) or None,
                    title=text_of(cited.get("title")) or None,
                    quote=text_of(cited.get("content")) or None,
                    start=start,
                    end=end,
                    keep=(Opaque(NAME, self._engine.issuer, dict(dict_of(wire))),),
                )
            )

    def _image(self, wire: object) -> None:
        given = dict_of(wire).get("image_url")
        url = text_of(given) or text_of(dict_of(given).get("url"))
        head, comma, data = url.partition(";base64,")
        if comma and head.startswith("data:"):
            self._flow.whole(Media(mime=head[5:], base64=data))
        elif url:
            self._flow.whole(Media(mime="image/png", url=url))

    def _call(self, wire: Mapping[str, Any], number: int, whole: bool) -> None:
        given = dict_of(wire.get("function")) or dict_of(wire.get("custom"))
        name = text_of(given.get("name"))
        call = self._found(wire, number, name, whole)
        call.keep.update({name: value for name, value in wire.items() if name not in _CALL and value is not None})
        call.name = call.name or name
        arguments = given.get("arguments", given.get("input"))
        if arguments is not None and not isinstance(arguments, str):
            arguments = dumps(arguments)
        if arguments:
            call.pieces.append(arguments)
        if call.name:
            self._tell(call)

    def _tell(self, call: _Call) -> None:
        if call.index is None:
            self._end_thought()
            # Ids are missing or given twice on some hosts: results could not find their way back.
            id = call.id if call.id and call.id not in self._ids else f"call_{token_hex(12)}"
            self._ids |= {id}
            call.index = self._flow.call(id, call.name)
        self._flow.arguments(call.index, "".join(call.pieces[call.told :]))
        call.told = len(call.pieces)

    def _found(self, wire: Mapping[str, Any], number: int, name: str, whole: bool) -> _Call:
        """By its place in a whole answer; else by index, else by id, else the last one."""
        id = text_of(wire.get("id"))
        if id == "null":  # Mistral's word for none, at times
            id = ""
        key: object = number if whole else wire.get("index")
        if isinstance(key, list | dict):
            key = None
        if key is None:
            call = next((call for call in self._calls.values() if id and call.id == id), None)
            if call is None and self._last is not None and self._last.goes_on(id, name):
                call = self._last
            key = object()
        else:
            call = self._calls.get(key)
            if call is not None and call.parted_from(id, name):
                self._calls[object()] = call
                call = None
        if call is None:
            call = self._calls[key] = _Call(id)
        call.id = call.id or id
        self._last = call
        return call

    def _ended(self) -> list[Event]:
        if not self._started:
            self._start({})
        self._end_thought()
        for url, title in self._sources.items():
            self._flow.cite(Citation(url, title))
        for call in self._calls.values():
            if call.index is None and (call.pieces or call.id):
                raise Malformed(f"{self._engine.label} called a tool without its name.", engine=self._engine.name)
            if call.index is not None:
                keep: Keep = (Opaque(NAME, self._engine.issuer, call.keep),) if call.keep else ()
                self._flow.end_open()
                self._flow.end_call(call.index, keep)
        if self._details:
            self._flow.reasoning("", withheld=True)
            self._flow.end_open(self._detail_keep())
        self._flow.end_all()
        if self._usage is not None:
            self._flow.out.append(UsageReported(self._usage))
        reason = FINISH.get(self._finish or "", "other")
        keep = rest_of(self._extra, (), NAME, self._engine.issuer)
        self._flow.out.append(Finished(settled(reason, self._flow.called), self._finish, keep))
        self.done = True
        return self._flow.take()


def _extend(kept: Json, more: Mapping[str, Any]) -> None:
    """Log probabilities come a few tokens at a time."""
    if isinstance(kept, dict):
        for name, tokens in more.items():
            if isinstance(tokens, list):
                so_far = kept.setdefault(name, [])
                assert isinstance(so_far, list)
                so_far += tokens


def read_reply(body: Any, engine: Engine) -> Reply:
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} answered with something other than a completion.", engine=engine.name)
    if (failed := error_in(body)) is not None:
        raise error_of(0, failed, engine)
    if not list_of(body.get("choices")):
        raise Malformed(f"{engine.label} answered without any choice.", engine=engine.name)
    reading = ChunkReader(engine)
    reading._chunk(body, whole=True)
    return collect(reading._ended())
