"""The verbatim lane: client and engine speak the same dialect, so their bytes are handed on as they are.

In the request only ``model`` changes, and usage is asked for. In the answer nothing changes, but for a usage event that
the client did not ask for and events with empty data, which are withheld, the blank line that the last event lacks, an
error behind a stream that ended without its terminal event, and what clients take for the end of a JSON line inside
one, which is escaped. The dialect's own reader looks on for usage, finish and the log.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llm.chat.events import Event, Finished, Piece, text_of_piece
from llm.chat.reply import replay
from llm.chat.request import ChatRequest
from llm.chat.token_estimate import Input, estimated_usage
from llm.dialects.base import Outgoing
from llm.dialects.registry import VERBATIM_DIALECTS
from llm.engines.api_choice import RESPONSES, over_responses, routed
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed
from llm.log import MASK, is_secret
from llm.transport.interface import HttpReply
from llm.upstream.attempts import Exchange
from llm.upstream.call_record import Silence, Trace
from llm.upstream.engine_client import Services
from llm.upstream.fast_path import Alike, Express
from llm.wire.frames import Blocks, Frame
from llm.wire.json_codec import Json, loads
from llm.wire.ndjson import LineBlocks, one_line
from llm.wire.sse import Sse, SseBlocks

_EVENTS: Final = "text/event-stream"
_LINES: Final = "application/x-ndjson"
_BLOCKS: Final[Mapping[str, Callable[[int], Blocks]]] = {_EVENTS: SseBlocks, _LINES: LineBlocks}
_NO_DATA: Final = re.compile(rb"(?:\A|[\r\n])data:?[ \t]*[\r\n]")  # a line of an event that may have no more


def relay_to(client_dialect: str, request: ChatRequest, target: Target) -> Target | None:
    """Where an exchange goes verbatim: the target over the client's own wire; None where that cannot be.

    It cannot where the model would refuse the client's wire: then it is translated to the engine's other API.
    """
    there = routed(request, target)
    if client_dialect == RESPONSES and there.engine.responses is not None:
        there = over_responses(there)
    same = client_dialect == there.engine.dialect and client_dialect in VERBATIM_DIALECTS
    return there if same and not there.engine.translate else None


@dataclass(slots=True)
class Relayed:
    """What the engine's answer turned out to be, known when the first value has come."""

    content_type: str = "application/json"
    failure: LLMError | None = field(default=None)  # an error that the engine sent itself: the client has it already
    express: Express | None = None  # the short way to the client, where there is one


def relay(
    body: Mapping[str, Json],
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    relayed: Relayed,
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The bytes of one answer. The first value may be empty: the engine has accepted the request.

    ``body`` is the client's; ``request`` the same as read by its dialect. Raises as ``call.stream`` does.
    """
    outgoing = VERBATIM_DIALECTS[target.engine.dialect].verbatim(body, target.model, target.engine)
    unasked = outgoing.body is not None and outgoing.body.get("stream_options") != body.get("stream_options")
    exchange = Exchange(target, services, trace, headers)
    return _answer(exchange, outgoing, request, trace, relayed, unasked, services.max_answer)


async def _answer(
    exchange: Exchange,
    outgoing: Outgoing,
    request: ChatRequest,
    trace: Trace,
    relayed: Relayed,
    unasked: bool,
    most: int,
) -> AsyncGenerator[bytes, None]:
    target, streamed = exchange.target, request.stream
    while True:
        try:
            answer = exchange.ask(outgoing)
            # It is on its way: what only its answer needs is made while the engine works.
            trace.input = trace.input or Input(request)
            passing = _Passing(target, trace, relayed, unasked)
            silence = Silence(most)
            async with await answer as reply:
                del answer
                relayed.content_type = reply.headers.get("content-type", "application/json")
                chunks: AsyncIterator[bytes] = aiter(reply)
                begin = b""
                type_ = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
                if type_ not in _BLOCKS and streamed:
                    begin = await _begin(reply, silence)
                    if found := _type_of(begin, type_, target):
                        type_ = relayed.content_type = found
                        chunks = _Begun(begin, chunks)
                kind = _BLOCKS.get(type_)
                if kind is None:
                    whole = begin + await reply.read(most)
                    _read_whole(whole, target, trace)
                    yield whole
                    return
                passing.begin(kind(most))
                yield b""
                async for chunk in chunks:
                    silence.heard(chunk)
                    whole = passing.blocks.cut(chunk)
                    del chunk  # like what was made of it, while the next one is waited for
                    if not whole:
                        continue
                    like = passing.like(whole)
                    piece = whole if like is not None else passing.wanted(whole)
                    try:
                        if piece:
                            if not exchange.begun:
                                exchange.begun = True
                                del outgoing, request  # it is not asked again, so nobody needs what was asked (T18)
                            yield passing.sendable(piece) if like is not None else passing.masked(piece)
                    finally:  # what has left is in the books, even if its client leaves with it (C3)
                        heard = passing.read(whole) if like is None else passing.skipped(like)
                    del piece, whole, like
                    if heard:
                        reply.alive()
                        silence.size = 0
                        if relayed.express is not None:
                            reply.tap = passing.tap
                    if passing.done:
                        reply.drain()
                        return
                if rest := passing.rest():
                    yield rest
                passing.close()
            return
        except LLMError as error:
            await exchange.failed(error)


async def _begin(reply: HttpReply, silence: Silence) -> bytes:
    """What comes up to the first byte that is not blank."""
    begin = b""
    async for chunk in reply:
        silence.heard(chunk)
        begin += chunk
        if not chunk.isspace():
            break
    return begin


def _type_of(begin: bytes, told: str, target: Target) -> str | None:
    """What a stream is that began so, where its content type does not say; None for one document, under any type."""
    said = begin.lstrip()
    if isinstance(VERBATIM_DIALECTS[target.engine.dialect].framing(), Sse):
        return None if said.startswith((b"{", b"[", b"<")) else _EVENTS  # no event begins so
    return _LINES if said.startswith(b"{") and told != "application/json" else None


class _Begun:
    """An answer of which somebody has read the beginning."""

    __slots__ = ("_begin", "_rest")

    def __init__(self, begin: bytes, rest: AsyncIterator[bytes]) -> None:
        self._begin, self._rest = begin, rest

    def __aiter__(self) -> _Begun:
        return self

    async def __anext__(self) -> bytes:
        if begin := self._begin:
            self._begin = b""
            return begin
        return await anext(self._rest)


def _read_whole(whole: bytes, target: Target, trace: Trace) -> None:
    try:
        events = [*replay(VERBATIM_DIALECTS[target.engine.dialect].read_reply(loads(whole), target.engine))]
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
    _observe(events, trace)


def _observe(events: list[Event], trace: Trace) -> None:
    trace.observe(events)
    if trace.usage is None and trace.input is not None and any(isinstance(event, Finished) for event in events):
        trace.usage = estimated_usage(trace.input, trace.characters)


class _Passing:
    """The events of one answer, passing by: which of them leave, and what our own books say of them.

    They leave before they are looked into. The dialect's reader is given all of them but those that are like the one
    before (``llm.upstream.fast_path``), of which it is told: so it knows each part and call, however the events came.
    """

    __slots__ = ("_alike", "_key", "_lines", "_only_usage", "_reader", "_relayed", "_target", "_trace", "blocks")

    blocks: Blocks  # how they are cut, once that is known

    def __init__(self, target: Target, trace: Trace, relayed: Relayed, unasked: bool) -> None:
        dialect = VERBATIM_DIALECTS[target.engine.dialect]
        self._reader = dialect.reader(target.engine)
        self._key = target.key.encode() if is_secret(target.key) else b""
        self._only_usage = dialect.only_usage if unasked else None
        self._relayed = relayed
        self._target = target
        self._trace = trace

    def begin(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self._lines = isinstance(blocks, LineBlocks)
        self._alike = Alike(self._reader.noise, self._reader.unlike, blocks.border, calls=True)

    @property
    def done(self) -> bool:
        return self._reader.done

    def like(self, whole: bytes) -> Piece | None:
        """What these events say, if each of them is like the last one that was read."""
        piece, taken = self._alike.read(whole)
        return piece if taken == len(whole) else None

    def wanted(self, whole: bytes) -> bytes:
        """Those that have data, and more than usage which nobody asked for."""
        if self._only_usage is None and _NO_DATA.search(whole) is None:
            return whole
        return b"".join([event for event in self.blocks.split(whole) if self._leaves(event)])

    def _leaves(self, event: bytes) -> bool:
        frame = self.blocks.frame(event)
        if frame is None:  # a comment does, and no data does not: clients would look for JSON in it
            return _NO_DATA.search(event) is None
        return self._only_usage is None or not self._only_usage(frame)

    def masked(self, piece: bytes) -> bytes:
        """As it came, but for a key that the provider repeats in an error (X4)."""
        if self._key and self._key in piece:
            events = self.blocks.split(piece)
            piece = b"".join(e.replace(self._key, MASK.encode()) if self._is_error(e) else e for e in events)
        return self.sendable(piece)

    def sendable(self, piece: bytes) -> bytes:
        """As it came, but for what clients take for the end of a JSON line inside one."""
        return one_line(piece) if self._lines else piece

    def _is_error(self, event: bytes) -> bool:
        """Whether it is no part of an answer: an error, or no JSON."""
        frame = self.blocks.frame(event)
        if frame is None:
            return True
        target = self._target
        try:
            loads(frame.data)
            # Not by the reader of the answer, which gets each event once, when it has left.
            VERBATIM_DIALECTS[target.engine.dialect].reader(target.engine).feed(frame)
        except Malformed:
            return False
        except (ValueError, LLMError):
            return True
        return False

    def read(self, whole: bytes) -> bool:
        """Keeps the books of events, each of which may tell anything. Returns whether they told something."""
        blocks, heard = self.blocks, False
        events: list[Event] = []
        last = b""
        for block in blocks.split(whole):
            if (frame := blocks.frame(block)) is not None:
                last, events = block, self._events_in(frame)
                if events:
                    heard = True
                    _observe(events, self._trace)
        if last:
            self._alike.learn(last, events)
        return heard

    def skipped(self, piece: Piece) -> bool:
        """The same of what :meth:`like` knows."""
        self._reader.skipped(piece)
        self._trace.characters += len(text_of_piece(piece))
        return True

    def tap(self, read: bytes) -> int:
        """The short way for such events: bytes of the read that are on their way to the client (``HttpReply.tap``)."""
        blocks, express = self.blocks, self._relayed.express
        half = blocks.half()
        if half is None or express is None:
            return 0
        whole = half + read if half else read
        piece, taken = self._alike.read(whole)
        if piece is None or not express.pass_on(self.sendable(whole[:taken])):
            return 0
        self.skipped(piece)
        if half:
            blocks.forget()
        return taken - len(half)

    def rest(self) -> bytes:
        """The last event, where nothing ended it, with what ends one; nothing if it is half an event."""
        blocks = self.blocks
        rest = blocks.close()
        frame = blocks.frame(rest)
        if frame is None:
            return b""
        try:
            events = self._read(frame)
        except Malformed:
            return b""
        _observe(events, self._trace)
        return self.masked(rest + blocks.border) if self._leaves(rest) else b""

    def close(self) -> None:
        """Raises ``Truncated`` where the dialect's own end is missing."""
        if not self._reader.done and self._relayed.failure is None:
            _observe(self._reader.close(), self._trace)

    def _events_in(self, frame: Frame) -> list[Event]:
        """What an event says, for our own books only; an error in it goes to the client as it is."""
        try:
            return self._read(frame)
        except Malformed:
            return []  # not ours to judge: the client gets it as it is

    def _read(self, frame: Frame) -> list[Event]:
        """Raises ``Malformed``; any other error is the engine's own."""
        if self._relayed.failure is not None:
            return []
        try:
            return self._reader.feed(frame)
        except Malformed:
            raise
        except LLMError as error:
            self._relayed.failure = error
            return []
