"""The verbatim lane: client and engine speak the same dialect, so their bytes are handed on as they are.

In the request only ``model`` changes, and usage is asked for. In the answer nothing changes, but for a usage event that
the client did not ask for, which is withheld, and an error behind a stream that ended without its terminal event. The
dialect's own reader looks on for usage, finish and the log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llm.chat import ChatRequest
from llm.codec import loads
from llm.dialects import Outgoing
from llm.dialects.registry import VERBATIM_DIALECTS
from llm.engines import Target
from llm.errors import LLMError, Malformed
from llm.events import Event, Finished, Piece, replay, text_of_piece
from llm.exchange import Exchange, Services, Silence, Trace
from llm.express import Alike, Express
from llm.framing import Blocks, Frame, LineBlocks, SseBlocks
from llm.log import MASK, is_secret
from llm.opaque import Json
from llm.routing import RESPONSES, over_responses, routed
from llm.tokens import Input, estimated_usage

_BLOCKS: Final[Mapping[str, Callable[[int], Blocks]]] = {
    "text/event-stream": SseBlocks,
    "application/x-ndjson": LineBlocks,
}


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
    target = exchange.target
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
                kind = _BLOCKS.get(relayed.content_type.partition(";")[0].strip().lower())
                if kind is None:
                    whole = await reply.read(most)
                    _read_whole(whole, target, trace)
                    yield whole
                    return
                passing.begin(kind(most))
                yield b""
                async for chunk in reply:
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
                            yield piece if like is not None else passing.masked(piece)
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
                if rest := passing.closed():
                    yield rest
            return
        except LLMError as error:
            await exchange.failed(error)


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
    before (``llm.express``), of which it is told: so it knows each part and call, however the events came.
    """

    __slots__ = ("_alike", "_key", "_only_usage", "_reader", "_relayed", "_target", "_trace", "blocks")

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
        self._alike = Alike(self._reader.noise, self._reader.unlike, blocks.border, calls=True)

    @property
    def done(self) -> bool:
        return self._reader.done

    def like(self, whole: bytes) -> Piece | None:
        """What these events say, if each of them is like the last one that was read."""
        piece, taken = self._alike.read(whole)
        return piece if taken == len(whole) else None

    def wanted(self, whole: bytes) -> bytes:
        """Those that do not only tell usage which nobody asked for."""
        if self._only_usage is None:
            return whole
        blocks = self.blocks
        kept = [
            event
            for event in blocks.split(whole)
            if (frame := blocks.frame(event)) is None or not self._only_usage(frame)
        ]
        return b"".join(kept)

    def masked(self, piece: bytes) -> bytes:
        """As it came, but for a key that the provider repeats in an error (X4)."""
        if not self._key or self._key not in piece:
            return piece
        events = self.blocks.split(piece)
        return b"".join(e.replace(self._key, MASK.encode()) if self._is_error(e) else e for e in events)

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
        if piece is None or not express.pass_on(whole[:taken]):
            return 0
        self.skipped(piece)
        if half:
            blocks.forget()
        return taken - len(half)

    def closed(self) -> bytes:
        """What is left at the end. Raises ``Truncated`` where the dialect's own end is missing."""
        blocks = self.blocks
        rest = blocks.close()
        _observe(self._events_in(blocks.frame(rest)), self._trace)
        if self._reader.done or self._relayed.failure is not None:  # the end came without its border
            return self.masked(rest + blocks.border) if rest else b""
        _observe(self._reader.close(), self._trace)
        return b""

    def _events_in(self, frame: Frame | None) -> list[Event]:
        """What an event says, for our own books only; an error in it goes to the client as it is."""
        if frame is None or self._relayed.failure is not None:
            return []
        try:
            return self._reader.feed(frame)
        except Malformed:
            return []  # not ours to judge: the client gets it as it is
        except LLMError as error:
            self._relayed.failure = error
            return []
