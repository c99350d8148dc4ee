"""A chat in any client's dialect: reads the request, hands the answer on as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final

from tornado.iostream import StreamClosedError

from handlers.base import Base
from handlers.context import Context
from handlers.request.output import Direct, Output
from llm import log
from llm.chat.events import Batch, Failed
from llm.chat.grammar import Grammar, GrammarBroken
from llm.chat.messages import Usage
from llm.chat.reply import Collector, Reply
from llm.chat.request import ChatRequest
from llm.dialects import native
from llm.dialects.base import ClientDialect, Writer
from llm.engines.engine import Target
from llm.errors import LLMError, NotFound
from llm.gateway.signature_cache import Remembering
from llm.upstream.call_record import Trace
from llm.upstream.fast_path import told
from llm.upstream.passthrough import Relayed, relay, relay_to
from llm.upstream.translate import stream
from llm.wire.json_codec import Json

# Headers of a client that go along to an engine of the same dialect, byte for byte.
_FORWARDED: Final = ("anthropic-beta", "anthropic-version")
_NONE: Final[Mapping[str, str]] = {}


class ChatHandler(Base):
    """``POST`` of a chat; one class for every client dialect."""

    methods = ("POST",)
    costly = True
    __slots__ = ("_output", "_stopped", "_trace", "_writer", "body", "express", "schema")

    schema: str
    body: dict[str, Any]

    def initialize(self, context: Context, dialect: ClientDialect = native, schema: str = "llm.chat") -> None:
        super().initialize(context)
        self.dialect = dialect
        self.schema = schema
        self._output: Output | None = None  # of an answer that is streamed, like its writer
        self._writer: Writer | None = None
        self.express = Direct()
        self._trace = Trace(started=self.began)
        self._stopped: LLMError | None = None  # why the answer was stopped, if not by its client leaving

    @property
    def names(self) -> frozenset[str]:
        return self.caller.names

    async def handle(self, body: dict[str, Any]) -> None:
        self.context.schemas.check(self.schema, body)
        self.body = body
        target = self.target(body)
        request, trace = await self.read(body), self._trace
        self.told |= {"engine": target.engine.name, "model": target.model, "stream": request.stream}
        running = self.context.running
        running.add(self.request_id, self)
        try:
            there = relay_to(self.dialect.NAME, request, target)
            if there is None:
                body.clear()  # what it said is in the request by now
            answer = (self._streamed if request.stream else self._whole)(request, target, there, trace)
            del request  # it may be large, and nobody needs it while its answer comes (T18)
            await answer
        except StreamClosedError:
            self._gone = True
        except LLMError as error:
            if self._output is None or not self._output.started:
                raise
            await self._fail(error, self._output)
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
            if self._output is None or not self._output.started:
                raise self._stopped from None
            await self._fail(self._stopped, self._output)
        finally:
            running.remove(self.request_id)
            self._output = None  # which knows us: what is done is gone without a garbage collector

    def target(self, body: dict[str, Any]) -> Target:
        """Where the request goes: ``engine/model`` in the compatible APIs."""
        return self.context.catalog.target_of(body["model"], self.caller)

    async def read(self, body: dict[str, Any]) -> ChatRequest:
        return self.dialect.read_request(body)

    def whole(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        """The answer as one object."""
        return self.dialect.write_reply(reply, request, int(time.time()))

    def writer(self, request: ChatRequest) -> Writer:
        return self.dialect.writer(request, int(time.time()))

    def stop(self, reason: LLMError) -> None:
        """Ends the answer with this error (``running.Answer``)."""
        self._stopped = reason
        if self._task is not None:
            self._task.cancel()

    def nudge(self, now: float, silence: float) -> None:
        """A sign of life after so many seconds of silence (``running.Answer``); the first one sends our headers."""
        output, writer = self._output, self._writer
        if output is None or writer is None or self._gone or now - output.last < silence:
            return
        self._open(output, writer.content_type)
        output.ping(writer.ping())

    async def _whole(self, request: ChatRequest, target: Target, there: Target | None, trace: Trace) -> None:
        if there is not None:
            relayed = Relayed()
            async with aclosing(self._relay(request, there, trace, relayed)) as pieces:
                whole = b"".join([piece async for piece in pieces])
            self.headers_of(trace)
            self.set_header("Content-Type", relayed.content_type)
            self.write(whole)
            return
        collector = Collector()
        async with aclosing(await self._events(request, target, trace)) as batches:
            async for batch in batches:
                for event in batch:
                    collector.feed(event)
        self.headers_of(trace)
        self.write_json(self.whole(collector.reply(), request))

    def _streamed(
        self, request: ChatRequest, target: Target, there: Target | None, trace: Trace
    ) -> Coroutine[Any, Any, None]:
        """What answers, holding nothing of the request beyond what it needs of it."""
        writer = self._writer = self.writer(request)
        output = self._output = Output(self)
        if there is None:
            return self._translated(self._events(request, target, trace), trace, writer, output)
        relayed = Relayed(express=self.express)
        return self._verbatim(self._relay(request, there, trace, relayed), trace, relayed, writer, output)

    async def _translated(
        self, answer: Coroutine[Any, Any, AsyncGenerator[Batch, None]], trace: Trace, writer: Writer, output: Output
    ) -> None:
        grammar = Grammar() if self.context.config.check_grammar else None
        events = await answer
        del answer
        accepted = False
        try:
            async for batch in events:
                if not accepted:
                    accepted = True
                    self._accept(output, writer, trace, writer.content_type)
                if grammar is not None:
                    self._check(grammar, batch)
                for piece in writer.feed(batch):
                    if writer.spacing:
                        await output.write_spaced(piece, writer.spacing)
                    elif (waiting := output.send(piece)) is not None:
                        await waiting
                    del piece
                del batch  # while the next one is waited for
        finally:  # less weight beside an open stream than ``aclosing``
            await events.aclose()
        await output.end()

    async def _verbatim(
        self, answer: AsyncGenerator[bytes, None], trace: Trace, relayed: Relayed, writer: Writer, output: Output
    ) -> None:
        accepted = False
        try:
            async for piece in answer:
                if not accepted:
                    accepted = True
                    self._accept(output, writer, trace, relayed.content_type)
                if piece and (waiting := output.send(piece)) is not None:
                    await waiting
                del piece  # while the next one is waited for
        finally:
            await answer.aclose()
        self.failure = relayed.failure
        await output.end()

    def _accept(self, output: Output, writer: Writer, trace: Trace, content_type: str) -> None:
        """The engine has accepted the request: our headers leave, unless they have."""
        if not output.started:
            self.headers_of(trace)
        self._open(output, content_type)
        if not writer.spacing and not self.context.config.check_grammar:
            self.express.open(output, writer)

    def _open(self, output: Output, content_type: str) -> None:
        if not output.started:
            self.set_header("Content-Type", content_type)
            output.start()

    async def _fail(self, failure: LLMError, output: Output) -> None:
        """The status is out: the error is the last of the stream."""
        assert self._writer is not None
        self.failure = failure
        try:
            for piece in self._writer.feed([Failed(failure)]):
                await output.write_spaced(piece, self._writer.spacing)
            await output.end()
        except StreamClosedError:
            self._gone = True

    async def _events(self, request: ChatRequest, target: Target, trace: Trace) -> AsyncGenerator[Batch, None]:
        # What one engine signed means nothing to another, whose calls may have the same ids.
        memo, owner = self.context.memo, " ".join((target.engine.name, *sorted(self.names)))
        await memo.fetch(owner, request)
        request = memo.completed(owner, request)
        forwarded, services = self.forwarded(target), self.context.services
        if not request.tools:
            return stream(request, target, services, trace, forwarded, self.express)
        remembering = Remembering(memo, owner)
        short = told(self.express, lambda delta: remembering.observe([delta]))
        return _remembered(stream(request, target, services, trace, forwarded, short), remembering)

    def _relay(
        self, request: ChatRequest, target: Target, trace: Trace, relayed: Relayed
    ) -> AsyncGenerator[bytes, None]:
        services, forwarded = self.context.services, self.forwarded(target)
        pieces = relay(self.body, request, target, services, trace, relayed, forwarded)
        self.body.clear()  # it is in what will be sent
        return pieces

    def forwarded(self, target: Target) -> Mapping[str, str]:
        if target.engine.dialect != self.dialect.NAME:
            return _NONE
        return {name: self.request.headers[name] for name in _FORWARDED if name in self.request.headers}

    def headers_of(self, trace: Trace) -> None:
        for name, value in trace.headers.items():
            self.set_header(name, value)
        if trace.dropped:
            self.set_header("X-Dropped-Fields", ", ".join(trace.dropped))

    def _check(self, grammar: Grammar, batch: Batch) -> None:
        try:
            grammar.feed(batch)
        except GrammarBroken as broken:
            log.write("grammar", 40, id=self.request_id, what=str(broken)[:500])

    def outcome(self) -> dict[str, Any]:
        trace, usage = self._trace, self._used()
        return {
            "attempts": trace.attempts,
            "first_token": round(trace.first_token, 3) if trace.first_token is not None else None,
            "finish": trace.finish,
            "input_tokens": usage.input if usage else None,
            "output_tokens": usage.output if usage else None,
            "estimated": True if usage and usage.estimated else None,
            "dropped": [*trace.dropped] or None,
        }

    def _used(self) -> Usage | None:
        """The provider may bill what a client left, or what broke off; not what it refused."""
        left = self._gone or self._stopped is not None or self._trace.characters
        return self._trace.used() if left else self._trace.usage


async def _remembered(events: AsyncGenerator[Batch, None], remembering: Remembering) -> AsyncGenerator[Batch, None]:
    async with aclosing(events) as batches:
        async for batch in batches:
            remembering.observe(batch)
            await remembering.share()
            yield batch


class CancelHandler(Base):
    """``DELETE /llm/chat/<id>``: for clients behind proxies that hide a disconnect (C2)."""

    methods = ("DELETE",)

    async def handle(self, body: dict[str, Any]) -> None:
        id, names = self.path_args[0], self.caller.names
        here, there = self.context.running.cancel(id, names), await self.context.peers.cancel(id, names)
        if not here and not there:
            raise NotFound(f"No answer {id[:128]} is under way.")
        self.set_status(204)
