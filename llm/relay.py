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
from llm.dialects import Reader, VerbatimDialect
from llm.dialects.registry import VERBATIM_DIALECTS
from llm.engines import Target
from llm.errors import LLMError, Malformed
from llm.events import Event, Finished, replay
from llm.exchange import MASK, Services, Silence, Trace, asked
from llm.express import Alike, Express
from llm.framing import Blocks, Frame, LineBlocks, SseBlocks
from llm.http import HttpReply
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
    asking = trace.input = Input(request)
    unasked = outgoing.body is not None and outgoing.body.get("stream_options") != body.get("stream_options")

    def read(reply: HttpReply, target: Target) -> AsyncGenerator[bytes, None]:
        relayed.content_type = reply.headers.get("content-type", "application/json")
        blocks = _BLOCKS.get(relayed.content_type.partition(";")[0].strip().lower())
        watch = _Watch(asking, trace)
        most = services.max_answer
        if blocks is None:
            return _whole(reply, target, watch, most)
        return _events(reply, blocks(most), target, watch, relayed, unasked, Silence(most))

    return asked(lambda _: outgoing, read, target, services, trace, headers)


async def _whole(reply: HttpReply, target: Target, watch: _Watch, most: int) -> AsyncGenerator[bytes, None]:
    whole = await reply.read(most)
    try:
        watch([*replay(VERBATIM_DIALECTS[target.engine.dialect].read_reply(loads(whole), target.engine))])
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
    yield _Mask(target.key)(whole)


class _Mask:
    """What came as it came, but for a key that a provider repeats in its errors (X4)."""

    __slots__ = ("key",)

    def __init__(self, key: str | None) -> None:
        self.key = (key or "").encode()

    def __call__(self, piece: bytes) -> bytes:
        return piece.replace(self.key, MASK.encode()) if self.key and self.key in piece else piece


class _Short:
    """The short way for events that are nothing but pieces of an answer that has begun."""

    __slots__ = ("_blocks", "_border", "_mask", "_notable", "_pass_on", "_watch", "alike")

    def __init__(
        self, dialect: VerbatimDialect, reader: Reader, blocks: Blocks, watch: _Watch, mask: _Mask, express: Express
    ) -> None:
        self.alike = Alike(reader.noise)
        self._blocks = blocks
        self._border = blocks.border
        self._mask = mask
        self._notable = dialect.notable
        self._pass_on = express.pass_on
        self._watch = watch

    def tap(self, read: bytes) -> int:
        """Bytes of the read that are on their way to the client (``HttpReply.tap``)."""
        half = self._blocks.half()
        if half is None:
            return 0
        whole = half + read if half else read
        if not whole.endswith(self._border):
            whole = whole[: whole.rfind(self._border) + len(self._border)]
        text = self.alike.plain(whole)
        if not text and (len(whole) <= len(self._border) or self._notable(whole)):
            return 0
        masked = whole if text and self._mask.key not in text else self._mask(whole)
        if not self._pass_on(masked):
            return 0
        if text:
            self._watch.trace.characters += len(text)
        else:
            self._watch.passed(whole)
        if half:
            self._blocks.forget()
        return len(whole) - len(half)


async def _events(
    reply: HttpReply,
    blocks: Blocks,
    target: Target,
    watch: _Watch,
    relayed: Relayed,
    unasked: bool,
    silence: Silence,
) -> AsyncGenerator[bytes, None]:
    """The engine's events as they came; those that tell only usage which nobody asked for are withheld.

    Once the answer has begun, only events that may tell more than a piece of it are looked into.
    """
    dialect = VERBATIM_DIALECTS[target.engine.dialect]
    watch.only_usage = dialect.only_usage if unasked else None
    reader = dialect.reader(target.engine)
    mask = _Mask(target.key)
    watch.border = blocks.border
    short = None if relayed.express is None else _Short(dialect, reader, blocks, watch, mask, relayed.express)
    yield b""
    async for chunk in reply:
        silence.heard(chunk)
        whole = blocks.cut(chunk)
        del chunk  # like what was made of it, while the next one is waited for
        if watch.begun and not dialect.notable(whole):
            if whole:
                watch.passed(whole)
                reply.alive()
                silence.size = 0
                yield mask(whole)
            del whole
            continue
        passed = []
        for block in blocks.split(whole):
            frame = blocks.frame(block)
            events = _look(frame, reader, relayed)
            if not watch.withholds(frame):
                passed.append(block)
            if events:
                if short is not None and mask(block) is block:
                    short.alike.learn(block, events)
                watch(events, len(block))
                if watch.begun and short is not None:
                    reply.tap = short.tap
                reply.alive()
                silence.size = 0
            del block, frame, events
        if passed:
            yield mask(b"".join(passed))
        if reader.done:
            reply.drain()
            return
        del passed, whole
    rest = blocks.close()
    watch(_look(blocks.frame(rest), reader, relayed))
    if reader.done or relayed.failure is not None:  # the end came without its border
        yield mask(rest + blocks.border) if rest else b""
    else:
        watch(reader.close())


def _look(frame: Frame | None, reader: Reader, relayed: Relayed) -> list[Event]:
    """What an event says, for our own books only; an error in it goes to the client as it is."""
    if frame is None or relayed.failure is not None:
        return []
    try:
        return reader.feed(frame)
    except Malformed:
        return []  # not ours to judge: the client gets it as it is
    except LLMError as error:
        relayed.failure = error
        return []


class _Watch:
    """Keeps the books of an answer that passes by."""

    __slots__ = ("_around", "_asking", "border", "only_usage", "trace")

    def __init__(self, asking: Input, trace: Trace) -> None:
        self._asking = asking
        self.trace = trace
        self._around = 0  # bytes of an event that are not the model's
        self.border = b""  # of events
        self.only_usage: Callable[[Frame], bool] | None = None

    @property
    def begun(self) -> bool:
        return self.trace.first_token is not None

    def __call__(self, events: list[Event], size: int = 0) -> None:
        trace = self.trace
        before = trace.characters
        trace.observe(events)
        if said := trace.characters - before:
            self._around = max(size - said, 0)
        if trace.usage is None and any(isinstance(event, Finished) for event in events):
            trace.usage = estimated_usage(self._asking, trace.characters)

    def passed(self, whole: bytes) -> None:
        """Events that nobody looked into: what they said is about what their like did not need for themselves."""
        count = whole.count(self.border)
        said = len(whole) - count * self._around
        self.trace.characters += said if said > count else count

    def withholds(self, frame: Frame | None) -> bool:
        return frame is not None and self.only_usage is not None and self.only_usage(frame)
