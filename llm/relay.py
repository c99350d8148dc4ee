"""The verbatim lane: client and engine speak the same dialect, so their bytes are handed on as they are.

In the request only ``model`` changes, and usage is asked for. In the answer nothing changes, but for a usage event that
the client did not ask for, which is withheld, and an error behind a stream that ended without its terminal event. The
dialect's own reader looks on for usage, finish and the log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from llm.call import MASK, MAX_REPLY, Services, Trace, read_failure, tried
from llm.chat import ChatRequest
from llm.codec import loads
from llm.dialects import Outgoing, Reader
from llm.dialects.registry import VERBATIM_DIALECTS
from llm.engines import Target
from llm.errors import LLMError, Malformed, kept_headers
from llm.events import Event, Finished, replay
from llm.framing import Blocks, Frame, LineBlocks, SseBlocks
from llm.http import HttpReply
from llm.opaque import Json
from llm.routing import RESPONSES, over_responses, routed
from llm.tokens import estimated_usage

_BLOCKS: Final[Mapping[str, Callable[[], Blocks]]] = {
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


async def relay(
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
    async with aclosing(
        tried(lambda: _attempt(body, request, target, services, trace, relayed, headers), target, services, trace)
    ) as pieces:
        async for piece in pieces:
            yield piece


async def _attempt(
    body: Mapping[str, Json],
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    relayed: Relayed,
    headers: Mapping[str, str] | None,
) -> AsyncGenerator[bytes, None]:
    dialect = VERBATIM_DIALECTS[target.engine.dialect]
    outgoing = dialect.verbatim(body, target.model, target.engine)
    async with await services.send(target, outgoing, headers) as reply:
        if not 200 <= reply.status < 300:
            raise await read_failure(reply, dialect, target)
        trace.headers = kept_headers(reply.headers)
        relayed.content_type = reply.headers.get("content-type", "application/json")
        watch = _Watch(request, trace)
        if (blocks := _BLOCKS.get(relayed.content_type.partition(";")[0].strip().lower())) is not None:
            only_usage = dialect.only_usage if _usage_unasked(body, outgoing) else None
            reader = dialect.reader(target.engine)
            async with aclosing(_events(reply, blocks(), reader, watch, relayed, only_usage)) as pieces:
                async for piece in pieces:
                    yield _masked(piece, target.key)
            return
        whole = await reply.read(MAX_REPLY)
        try:
            watch([*replay(dialect.read_reply(loads(whole), target.engine))])
        except ValueError:
            raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
        yield _masked(whole, target.key)


def _masked(piece: bytes, key: str | None) -> bytes:
    """As it came, but for a key that a provider repeats in its errors (X4)."""
    if key and key.encode() in piece:
        return piece.replace(key.encode(), MASK.encode())
    return piece


def _usage_unasked(body: Mapping[str, Json], outgoing: Outgoing) -> bool:
    """We asked for usage on our own account."""
    return outgoing.body is not None and outgoing.body.get("stream_options") != body.get("stream_options")


async def _events(
    reply: HttpReply,
    blocks: Blocks,
    reader: Reader,
    watch: _Watch,
    relayed: Relayed,
    only_usage: Callable[[Frame], bool] | None,
) -> AsyncGenerator[bytes, None]:
    """The engine's events as they came; those that ``only_usage`` tells are withheld."""
    yield b""
    async for chunk in reply:
        passed = []
        for block in blocks.feed(chunk):
            frame = blocks.frame(block)
            events = _look(frame, reader, relayed)
            if frame is None or only_usage is None or not only_usage(frame):
                passed.append(block)
            if events:
                watch(events)
                reply.alive()
        if passed:
            yield b"".join(passed)
        if reader.done:
            reply.drain()
            return
    rest = blocks.close()
    watch(_look(blocks.frame(rest), reader, relayed))
    if reader.done or relayed.failure is not None:  # the end came without its border
        yield rest + blocks.border if rest else b""
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

    def __init__(self, request: ChatRequest, trace: Trace) -> None:
        self._request = request
        self._trace = trace

    def __call__(self, events: list[Event]) -> None:
        self._trace.observe(events)
        if self._trace.usage is None and any(isinstance(event, Finished) for event in events):
            self._trace.usage = estimated_usage(self._request, self._trace.characters)
