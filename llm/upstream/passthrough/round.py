"""Sends a client's own request to an engine of the same dialect, again where that helps, and its answer to a sink."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from llm.chat.grammar import ArgumentsCheck
from llm.chat.pipeline import ByteSink
from llm.chat.reply import collect, replay
from llm.chat.request import ChatRequest
from llm.chat.token_estimate import RequestSize
from llm.dialects.base import EngineRequest, add_query, without_usage
from llm.dialects.registry import PASSTHROUGH_WIRES, VALUE_ARGUMENTS
from llm.engines.engine import Target
from llm.errors import LLMError, Malformed
from llm.transport.interface import HttpResponse
from llm.upstream.attempts import Attempts, StreamStart
from llm.upstream.call_record import CallRecord, observe_passed
from llm.upstream.engine_client import EngineClient, encode_in_steps
from llm.upstream.passthrough.events import PassthroughEvents
from llm.upstream.whole_answer import SPLITTERS, STREAM_TYPES, WholeAnswer, read_body, read_stream_start, read_whole
from llm.wire.json_codec import Json
from llm.wire.ndjson import NdjsonSplitter


class PassthroughRound:
    """Sends a client's own body to an engine of the same dialect and the answer's bytes to a sink.

    Before the first byte, a failure that may pass is tried again. Body and request are let go once the answer has
    begun, since they may be large and are not sent again (T18).
    """

    __slots__ = (
        "_attempts", "_client", "_events", "_outgoing", "_record", "_request", "_sink", "_start", "_usage_added",
    )  # fmt: skip

    def __init__(
        self,
        body: Mapping[str, Json],
        request: ChatRequest,
        target: Target,
        client: EngineClient,
        record: CallRecord,
        sink: ByteSink,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> None:
        """``body``: the client's; ``request``: the same, read by its dialect; ``headers`` and ``query``: sent too."""
        self._attempts = Attempts(target, client, record, headers)
        outgoing, added = _write_passthrough(body, request, self._attempts.target, record, query)
        self._usage_added = self._attempts.may_adapt = added
        self._client = client
        self._events: PassthroughEvents | None = None  # of one attempt; None: the answer is one document
        self._outgoing: EngineRequest | None = outgoing
        self._record = record
        self._request: ChatRequest | None = replace(request, messages=()) if record.heavy else request
        self._sink = sink
        self._start: StreamStart | None = None  # until the headers of the client's stream were sent

    def take_request(self) -> tuple[ChatRequest, bytes | None] | None:
        """Returns the request and lets it go; without its messages if it was heavy, then with its JSON.

        None once the answer has begun.
        """
        request, outgoing = self._request, self._outgoing
        self._request = self._outgoing = None
        return None if request is None or outgoing is None else (request, outgoing.raw)

    async def run(self) -> None:
        """Returns when all was sent; an error of the engine's own stream is in the call record. Raises ``LLMError``."""
        while True:
            try:
                answer = self._ask()
                async with await answer as reply:
                    del answer
                    start = b"" if self._accept(reply) else await self._read_start(reply)
                    if self._events is None:
                        limit = self._client.max_answer
                        self._send_whole(await read_whole(reply, self._attempts.target, limit, start), reply)
                        return
                    if start:
                        if self._events.feed(start) is not None:
                            reply.reset_idle_timer()
                        await self._sink.drain()
                    del start
                    reply.on_data = self._events.feed
                    while not self._events.done:
                        try:
                            chunk = await anext(aiter(reply), None)
                        except LLMError as error:
                            if self._start is not None and not error.lack:
                                self._start.send()  # the stream broke, which is an error of the stream
                            raise
                        if chunk is None:
                            self._end(self._events, reply)
                            return
                        if chunk and self._events.feed(chunk) is not None:
                            reply.reset_idle_timer()
                        del chunk  # it would be held while the next one is waited for
                        await self._sink.drain()
                    reply.allow_drain()
                return
            except LLMError as error:
                await self._attempts.handle_failure(error)
            finally:
                if self._start is not None:
                    self._start.drop()
                    self._start = None
                if self._events is not None:
                    self._events.end()
                self._events = None  # it refers to this round: memory is freed without the garbage collector

    def _ask(self) -> Coroutine[Any, Any, HttpResponse]:
        """Sends the request at once. Returns a coroutine that waits for the response's headers."""
        assert self._outgoing is not None and self._request is not None
        if self._usage_added and not self._attempts.target.engine.quirks.accepts_include_usage:
            self._outgoing, self._usage_added = without_usage(self._outgoing), False
        answer = self._attempts.send(self._outgoing)
        # The request has been sent: what only the answer needs is prepared while the engine works on it.
        self._record.input = self._record.input or RequestSize(self._request)
        if self._request.stream:
            self._events = self._create_events(STREAM_TYPES[self._attempts.target.engine.dialect])
        return answer

    def _accept(self, reply: HttpResponse, found: str = "") -> bool:
        """Prepares the client's stream, if the content type is that of one. ``found``: the type, where it is wrong."""
        content_type = found or reply.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in SPLITTERS or self._request is None or not self._request.stream:
            return False
        self._start = StreamStart(partial(self._sink.accept, content_type))
        if self._events is None or self._events.lines != (SPLITTERS[kind] is NdjsonSplitter):
            self._events = self._create_events(kind)
        return True

    async def _read_start(self, reply: HttpResponse) -> bytes:
        """Decides by its first bytes whether the answer is a stream of events or one document. Returns these bytes."""
        start = b""
        if self._request is not None and self._request.stream:
            start, found = await read_stream_start(reply, self._attempts.target.engine, self._client.max_answer)
            if found and self._accept(reply, found):
                return start
        self._events = None
        return start

    def _create_events(self, kind: str) -> PassthroughEvents:
        limit = self._client.max_answer
        blocks, send, send_last = SPLITTERS[kind](limit), self._send_first, self._send_last
        events = PassthroughEvents(self._attempts.target, self._record, blocks, send, send_last, limit)
        events.withhold_usage, events.holds_end = self._usage_added, self._sink.holds_end
        return events

    def _end(self, events: PassthroughEvents, reply: HttpResponse) -> None:
        """Ends a stream. A document is converted that had the content type of a stream."""
        rest = events.take_rest()
        if self._request is not None and rest.lstrip().startswith(b"{") and not events.lines:
            self._send_whole(read_body(rest, self._attempts.target, self._client.max_answer), reply)
        else:
            events.close(rest)

    def _send_whole(self, whole: WholeAnswer, reply: HttpResponse) -> None:
        """Sends a whole answer; converts one that has the other form than the client asked for."""
        request, engine = self._request, self._attempts.target.engine
        assert request is not None
        dialect = PASSTHROUGH_WIRES[engine.dialect]
        events = observe_passed([*replay(whole.reply)], self._record)
        if whole.document is not None and not request.stream:
            document = dialect.repair_document(whole.document)
            self._sink.accept(reply.headers.get("content-type", "application/json"))
            self._sink.send(document)
        elif name := dialect.find_unconvertible_field(request, engine):
            message = f"{engine.label} sent {'no ' if request.stream else 'a '}stream: {name} cannot be converted."
            raise Malformed(message, engine=engine.name, param=name)
        elif request.stream:
            self._sink.feed(events)
        else:
            checked = ArgumentsCheck().feed(events) if engine.dialect in VALUE_ARGUMENTS else events
            self._sink.write_reply(collect(checked), request)

    def _send_first(self, piece: bytes) -> bool:
        self._begin(piece)
        send = self._sink.send
        if self._events is not None:
            self._events.send = send
        return send(piece)

    def _send_last(self, piece: bytes) -> bool:
        if not self._attempts.response_started:
            self._begin(piece)
        return self._sink.send_last(piece)

    def _begin(self, start: bytes) -> None:
        """The answer has begun: the client gets its headers, and what was sent is not sent again."""
        if self._events is not None:
            self._events.repair.check_start(start)
        if self._start is not None:
            self._start.send()
            self._start = None
        self._attempts.response_started, self._outgoing, self._request = True, None, None


def _write_passthrough(
    body: Mapping[str, Json], request: ChatRequest, target: Target, record: CallRecord, query: str
) -> tuple[EngineRequest, bool]:
    """Returns the engine's request, and whether usage is requested in it though the client did not.

    A heavy request (``CallRecord.heavy``) is encoded and measured here too, since this runs in a thread then.
    """
    outgoing = PASSTHROUGH_WIRES[target.engine.dialect].passthrough_request(body, target.model, target.engine)
    outgoing = add_query(outgoing, query) if query else outgoing
    record.dropped = (*record.unsent_headers, *outgoing.dropped)
    usage_added = (outgoing.body or {}).get("stream_options") != body.get("stream_options")
    if record.heavy:
        outgoing, record.input = encode_in_steps(outgoing), RequestSize(request)
    return outgoing, usage_added
