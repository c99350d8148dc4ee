"""``POST /llm/chat``."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from handlers.chat import ChatHandler
from handlers.native.threads import owner_of
from llm.chat.events import Batch, Finished, UsageReported
from llm.chat.history import answered, turns
from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import Opaque
from llm.chat.reply import Collector, Reply
from llm.chat.request import ChatRequest
from llm.dialects import native
from llm.dialects.base import Writer
from llm.engines.capabilities import guessed_abilities
from llm.engines.engine import Target
from llm.errors import EngineFailed, LLMError
from llm.gateway.tool_loop import Limits, run
from llm.tools.base import Tool, pick
from llm.upstream.call_record import Trace
from llm.upstream.fast_path import Express, told
from llm.upstream.translate import stream
from llm.wire.json_codec import Json

_INSTRUCTIONS: Final = (
    "You are an AI assistant that gives accurate information, answers questions and makes helpful suggestions. "
    "Understand what the user needs, communicate clearly, and be informative, concise and relevant."
)


def default_instructions(now: datetime, *, clock: bool = True) -> str:
    """The system prompt of a chat that brings none of its own."""
    when = f"Current date and time are {now:%A, %d %B %Y, %H:%M}." if clock else f"The date is {now:%A, %d %B %Y}."
    return f"{_INSTRUCTIONS} {when}"


@lru_cache(maxsize=4)
def _system(minute: int, clock: bool) -> Message:
    """One for all chats of a minute, which is counted from 1970."""
    now = datetime.fromtimestamp(60 * minute).astimezone()
    return Message("system", (Text(default_instructions(now, clock=clock)),))


class NativeChatHandler(ChatHandler):
    """``POST /llm/chat``: with the tools that this server runs, and the threads that it keeps."""

    _tools: Mapping[str, Tool] = {}  # of this request
    _thread: str | None = None  # its id
    _prompt: Message

    def target(self, body: dict[str, Any]) -> Target:
        return self.context.catalog.target(body["engine"], body["model"], self.caller)

    async def read(self, body: dict[str, Any]) -> ChatRequest:
        self._tools = pick(body.get("tools"), self.context.tools, trusted=self.caller.trusted)
        if body.get("tools") in (None, True) and not self._can_call(body):
            self._tools = {}
        request = await self._continued(body)
        if self._tools:
            request = replace(request, tools=tuple(tool.spec for tool in self._tools.values()))
        return request

    async def _continued(self, body: dict[str, Any]) -> ChatRequest:
        """The request; in a thread with what was said in it, in the place of ``messages``."""
        clock = not (body.get("options") or {}).get("caching")  # a cached prompt may not change by the minute (T4)
        default = _system(int(time.time()) // 60, clock)
        self._thread = body.get("thread")
        if self._thread is None:
            return native.read_request(body, default)
        request = native.read_request({**body, "messages": None})
        *system, self._prompt = request.messages
        history = answered(await self.context.threads.messages(self._thread, owner_of(self)))
        if not system and not any(message.role == "system" for message in history):
            system = [default]
        return replace(request, messages=(*system, *history, self._prompt))

    def _can_call(self, body: dict[str, Any]) -> bool:
        """Whether the model is one that can call tools, as far as is known: nobody asked for them by name."""
        target = self.target(body)
        known = self.context.catalog.fact(target)
        can = known.can if known else guessed_abilities(target.model, target.engine.models, ())
        return "tools" in can

    async def _events(self, request: ChatRequest, target: Target, trace: Trace) -> AsyncGenerator[Batch, None]:
        if self._thread is None:
            return self._rounds(request, target, trace, self.express)
        collector = Collector()
        rounds = self._rounds(request, target, trace, told(self.express, collector.feed))
        return self._keeping(rounds, collector)

    async def _keeping(self, rounds: AsyncGenerator[Batch, None], collector: Collector) -> AsyncGenerator[Batch, None]:
        """The answer on its way into its thread."""
        async with aclosing(rounds) as batches:
            async for batch in batches:
                for event in batch:
                    collector.feed(event)
                if not batch or not isinstance(end := batch[-1], Finished):
                    yield batch
                    continue
                yield batch[:-1]
                yield [await self._kept(collector.reply(), end)]

    async def _kept(self, reply: Reply, end: Finished) -> Finished:
        """``end``, with word of whether question and answer are in the thread now: no failure of ours stops it (O2)."""
        assert self._thread is not None
        said: dict[str, Json] = {"id": self._thread, "saved": True}
        try:
            if end.reason == "error":
                raise EngineFailed("The answer failed.")
            messages = (self._prompt, *turns(reply.message))
            await self.context.threads.append(self._thread, owner_of(self), messages)
        except LLMError as error:
            said |= {"saved": False, "error": error.message, "code": error.code}
            self.told["unsaved"] = error.code
        return replace(end, keep=(*end.keep, Opaque(native.NAME, native.NAME, {"thread": said})))

    def _rounds(
        self, request: ChatRequest, target: Target, trace: Trace, express: Express
    ) -> AsyncGenerator[Batch, None]:
        services = self.context.services

        def ask(round_: ChatRequest, short: Express | None) -> AsyncGenerator[Batch, None]:
            return stream(round_, target, services, trace, None, short)

        if not self._tools:
            return ask(request, express)
        config = self.context.config
        limits = Limits(config.max_tool_rounds, config.tool_timeout, config.max_tool_tokens, config.max_tool_time)
        return _summed(run(request, ask, self._tools, limits, express), trace)

    def writer(self, request: ChatRequest) -> Writer:
        return native.writer(request, 0, native.framing_for(self.request.headers.get("Accept", "")))


async def _summed(rounds: AsyncGenerator[Batch, None], trace: Trace) -> AsyncGenerator[Batch, None]:
    """The usage in the books is that of all rounds."""
    async with aclosing(rounds) as batches:
        async for batch in batches:
            for event in batch:
                if isinstance(event, UsageReported):
                    trace.usage = event.usage
            yield batch
