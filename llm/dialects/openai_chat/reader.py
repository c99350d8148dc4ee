"""From an engine: a streamed answer as events, a whole one as a reply."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from llm.chat import Citation, Media, Usage
from llm.codec import dumps, loads
from llm.dialects.openai_chat.common import FINISH, NAME, READ_REASONING, read_usage
from llm.dialects.openai_chat.failures import error_of, is_error
from llm.engines import Engine
from llm.errors import Malformed, Truncated
from llm.events import Event, Finished, Reply, Started, UsageReported, collect, settled
from llm.flow import Flow
from llm.framing import Frame, Framing, Sse
from llm.lenient import count_of, dict_of, list_of, text_of
from llm.opaque import Json, Keep, Opaque, rest_of

_CALL: Final = ("index", "id", "type", "function", "custom")


def framing() -> Framing:
    return Sse()


def reader(engine: Engine) -> ChunkReader:
    return ChunkReader(engine)


class _Call:
    """A tool call on its way: it is told once its name is known."""

    __slots__ = ("held", "id", "index", "keep", "name")

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.held: list[str] = []
        self.index: int | None = None
        self.keep: dict[str, Json] = {}


class ChunkReader:
    """The chunks of one stream, which ends with ``[DONE]``, or on some hosts after a finish reason by closing."""

    def __init__(self, engine: Engine) -> None:
        self.done = False
        self._engine = engine
        self._flow = Flow()
        self._started = False
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._details: list[Any] = []
        self._calls: dict[object, _Call] = {}
        self._last: _Call | None = None
        self._sources: list[str] = []  # Perplexity repeats them in every chunk
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
            raise Malformed("The engine sent a chunk that is not JSON.", engine=self._engine.name) from None
        if isinstance(wire, dict):
            if frame.event == "error" or is_error(wire):
                raise error_of(0, wire, self._engine)
            self._chunk(wire)
        return self._flow.take()

    def close(self) -> list[Event]:
        if self._finish is None:
            raise Truncated(f"{self._engine.label} ended its answer before it was complete.", engine=self._engine.name)
        return self._ended()

    def _chunk(self, wire: Mapping[str, Any], whole: bool = False) -> None:
        choices = list_of(wire.get("choices"))
        if not self._started and (choices or text_of(wire.get("id"))):
            self._start(wire)
        self._account(wire.get("usage") or dict_of(wire.get("x_groq")).get("usage"))
        for choice in choices:
            if isinstance(choice, dict) and not count_of(choice.get("index")):
                self._choice(choice, whole)
        for url in list_of(wire.get("citations")):
            if isinstance(url, str) and url not in self._sources:
                self._sources.append(url)

    def _start(self, wire: Mapping[str, Any]) -> None:
        self._started = True
        self._flow.out.append(Started(text_of(wire.get("id")), text_of(wire.get("model"))))

    def _account(self, usage: object) -> None:
        if isinstance(usage, dict):
            told = read_usage(usage, reasoning_inside=self._engine.quirks.reasoning_in_output)
            if told != self._usage and (told.fresh is not None or told.text is not None):
                self._usage = told

    def _choice(self, choice: Mapping[str, Any], whole: bool) -> None:
        # Perplexity sends both in either form, the other one empty or with all that was said so far.
        delta, message = dict_of(choice.get("delta")), dict_of(choice.get("message"))
        delta = message or delta if whole else delta or message
        self._think(delta)
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
        if isinstance(choice.get("logprobs"), dict):
            _extend(self._extra.setdefault("logprobs", {}), choice["logprobs"])
        self._finish = text_of(choice.get("finish_reason")) or self._finish

    def _think(self, delta: Mapping[str, Any]) -> None:
        """Where both fields are there they repeat each other."""
        details = [detail for detail in list_of(delta.get("reasoning_details")) if isinstance(detail, dict)]
        for detail in details:
            _merge_detail(self._details, detail)
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
                self._end_thought()
                self._flow.text(content)
            return
        for part in list_of(content):
            if not isinstance(part, dict):
                continue
            if part.get("type") == "thinking":
                inner = part.get("thinking")
                for piece in list_of(inner) if not isinstance(inner, str) else [{"text": inner}]:
                    self._flow.reasoning(text_of(dict_of(piece).get("text")))
            else:
                self._say(text_of(part.get("text")) or text_of(part.get("refusal")))

    def _end_thought(self) -> None:
        """Closes an open thought with what has to come back with it."""
        if self._details and self._flow.thinking:
            self._flow.end_open(self._detail_keep())

    def _detail_keep(self) -> Keep:
        details, self._details = self._details, []
        return (Opaque(NAME, self._engine.issuer, {"reasoning_details": details}),)

    def _annotate(self, wire: object) -> None:
        cited = dict_of(dict_of(wire).get("url_citation"))
        if cited:
            self._flow.cite(
                Citation(
                    url=text_of(cited.get("url")) or None,
                    title=text_of(cited.get("title")) or None,
                    quote=text_of(cited.get("content")) or None,
                    start=count_of(cited.get("start_index")),
                    end=count_of(cited.get("end_index")),
                    keep=(Opaque(NAME, self._engine.issuer, dict(dict_of(wire))),),
                )
            )

    def _image(self, wire: object) -> None:
        url = text_of(dict_of(dict_of(wire).get("image_url")).get("url"))
        head, comma, data = url.partition(";base64,")
        if comma and head.startswith("data:"):
            self._flow.whole(Media(mime=head[5:], base64=data))
        elif url:
            self._flow.whole(Media(mime="image/png", url=url))

    def _call(self, wire: Mapping[str, Any], number: int, whole: bool) -> None:
        given = dict_of(wire.get("function")) or dict_of(wire.get("custom"))
        call = self._found(wire, number, text_of(given.get("name")), whole)
        call.keep.update({name: value for name, value in wire.items() if name not in _CALL and value is not None})
        call.name = call.name or text_of(given.get("name"))
        arguments = given.get("arguments", given.get("input"))
        if arguments is not None and not isinstance(arguments, str):
            arguments = dumps(arguments)
        if call.index is None and call.name:
            self._end_thought()
            call.index = self._flow.call(call.id or f"call_{token_hex(12)}", call.name)
        if arguments:
            if call.index is None:
                call.held.append(arguments)
            else:
                self._flow.arguments(call.index, "".join((*call.held, arguments)))
                call.held.clear()

    def _found(self, wire: Mapping[str, Any], number: int, name: str, whole: bool) -> _Call:
        """By index, else by id, else the last one; a new id with a name under an old index is a new call."""
        id = text_of(wire.get("id"))
        key: object = wire.get("index")
        if whole and key is None:
            key = number
        if isinstance(key, list | dict):
            key = None
        if key is None:
            known = next((call for call in self._calls.values() if id and call.id == id), None)
            call = known or (None if name or self._last is None else self._last)
            key = object()
        else:
            call = self._calls.get(key)
            if call is not None and name and id and call.id and id != call.id:
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
        for url in self._sources:
            self._flow.cite(Citation(url=url))
        for call in self._calls.values():
            if call.index is None and (call.held or call.id):
                call.index = self._flow.call(call.id or f"call_{token_hex(12)}", call.name)
                self._flow.arguments(call.index, "".join(call.held))
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


def _merge_detail(details: list[Any], detail: dict[str, Any]) -> None:
    """Pieces of one text become one: what came in a stream goes back as a whole (OpenRouter)."""
    last = details[-1] if details else None
    same = last is not None and all(last.get(name) == detail.get(name) for name in ("type", "index"))
    for name in ("text", "summary", "data"):
        if same and last is not None and isinstance(last.get(name), str) and isinstance(detail.get(name), str):
            more = {key: value for key, value in detail.items() if value is not None and key != name}
            details[-1] = {**last, **more, name: last[name] + detail[name]}
            return
    if same and last is not None and detail.get("signature"):
        details[-1] = {**last, "signature": detail["signature"]}
        return
    details.append(dict(detail))


def _extend(kept: Json, more: Mapping[str, Any]) -> None:
    """Log probabilities come a few tokens at a time."""
    if isinstance(kept, dict):
        for name, tokens in more.items():
            if isinstance(tokens, list):
                before = kept.get(name)
                kept[name] = [*(before if isinstance(before, list) else ()), *tokens]


def read_reply(body: Any, engine: Engine) -> Reply:
    if not isinstance(body, dict):
        raise Malformed(f"{engine.label} answered with something other than a completion.", engine=engine.name)
    if is_error(body):
        raise error_of(0, body, engine)
    if not list_of(body.get("choices")):
        raise Malformed(f"{engine.label} answered without any choice.", engine=engine.name)
    reading = ChunkReader(engine)
    reading._chunk(body, whole=True)
    return collect(reading._ended())
