"""The native API beside the stream itself."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from handlers.base import Base
from handlers.chat import ChatHandler
from handlers.threads import owner_of
from llm.call import stream
from llm.chat import ChatRequest, Message, Text
from llm.dialects import Writer, native
from llm.engines import Target
from llm.errors import EngineFailed, LLMError
from llm.events import Collector, Finished, Reply, UsageReported
from llm.exchange import Batch, Trace
from llm.express import Express, told
from llm.loop import Limits, run
from llm.models import guessed_abilities
from llm.opaque import Json, Opaque
from llm.stored import answered, turns
from llm.tools import Tool, pick

_INSTRUCTIONS: Final = (
    "You are an AI assistant that gives accurate information, answers questions and makes helpful suggestions. "
    "Understand what the user needs, communicate clearly, and be informative, concise and relevant."
)
_TITLE_SYSTEM: Final = "Find the best title of a few words for the conversation that follows, in its own language."
_TITLE_PROMPT: Final = (
    "Give the conversation above a title of a few words. Answer with the title and nothing else, without quotes."
)
_TITLE_LENGTH: Final = 200  # characters


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


class TitleHandler(ChatHandler):
    """``POST /llm/title``: a few words for a conversation, by one question without tools."""

    def target(self, body: dict[str, Any]) -> Target:
        return self.context.catalog.target(body["engine"], body["model"], self.caller)

    async def read(self, body: dict[str, Any]) -> ChatRequest:
        said = [(wire["role"], wire.get("content") or "") for wire in body["messages"] if wire["role"] != "system"]
        talk = tuple(Message(role, (Text(content),)) for role, content in said if content)
        messages = (Message("system", (Text(_TITLE_SYSTEM),)), *talk, Message("user", (Text(_TITLE_PROMPT),)))
        return ChatRequest(model=body["model"], messages=messages)

    def whole(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        return {"title": _title_of(reply.text)}


def _title_of(text: str) -> str:
    """The first line that says something, without the quotes and marks that models put around a title."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    bare = line.lstrip("#").removeprefix("Title:").strip().strip("\"'“”«»*` ").strip()
    return bare[:_TITLE_LENGTH]


class EnginesHandler(Base):
    """``/llm/engines``: what this caller can use."""

    methods = ("GET", "POST")

    async def handle(self, body: dict[str, Any]) -> None:
        engines = self.context.catalog.engines(self.caller)
        self.write_json({"engines": [{"id": engine.name, "name": engine.label} for engine in engines]})


class ModelsHandler(Base):
    """``/llm/models/<engine>``."""

    methods = ("GET", "POST")

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json(native.write_models(await self.context.catalog.models(self.path_args[0], self.caller)))


class VerifyHandler(Base):
    """``POST /auth/verify``: whether a client id is a valid one."""

    methods = ("POST",)
    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        client_id = body.get("clientId")
        if isinstance(client_id, str) and client_id and self.context.knows(client_id):
            self.set_header("Content-Type", "text/plain")
            self.write("OK")
        else:
            self.write_json({"error": "Invalid client Id", "code": "unauthorized"}, 401)
