"""The tool loop: rounds with an engine, and between them the tools that this server runs for the model.

Over neutral events, so that it exists once under every dialect. A client sees one answer: parts numbered on, usage
summed, one end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from llm import log
from llm.chat.events import (
    Batch,
    Cited,
    Delta,
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Media, Message, Text, ToolCall, ToolResult, Usage
from llm.chat.reply import Collector, Reply
from llm.chat.request import ChatRequest
from llm.errors import ToolLimit
from llm.tools.base import Tool, ToolFailed, ToolState
from llm.upstream.fast_path import Express, through
from llm.wire.json_codec import Json, dumps, loads

MAX_RESULT: Final = 200_000  # characters of one result; what is beyond is cut, and the model is told

Ask: TypeAlias = Callable[[ChatRequest, Express | None], AsyncGenerator[Batch, None]]


@dataclass(frozen=True, slots=True)
class Limits:
    rounds: int = 10
    tool_timeout: float = 300  # seconds, each call
    tokens: int = 1_000_000  # input and output, all rounds
    seconds: float = 900  # all rounds and tools


async def run(
    request: ChatRequest, ask: Ask, tools: Mapping[str, Tool], limits: Limits, express: Express | None = None
) -> AsyncGenerator[Batch, None]:
    """The events of one answer. Raises ``LLMError``, ``ToolLimit`` among them; leaving it cancels running tools."""
    until = time.monotonic() + limits.seconds
    answer = _Answer()
    short = through(express, answer.told_shortly)
    for number in range(limits.rounds):
        async with aclosing(ask(request, short)) as batches:
            async for batch in batches:
                yield answer.told(batch, tools)
        reply, finish = answer.ended()
        calls = [part for part in reply.message.parts if isinstance(part, ToolCall) and part.executor == "client"]
        paused = finish.reason == "paused" and not calls
        ours = finish.reason in ("tool_calls", "stop", "other") and any(call.name in tools for call in calls)
        if not paused and not ours:
            yield [finish]
            return
        _check(answer.usage, limits, until)
        results: list[ToolResult] = []
        if calls:
            async with aclosing(_called(calls, tools, limits, answer, until)) as told:
                async for batch in told:
                    results += [e.part for e in batch if isinstance(e, WholePart) and isinstance(e.part, ToolResult)]
                    yield batch
        request = _next(request, reply, calls, results, first=number == 0)
        _check(answer.usage, limits, until)
    raise ToolLimit(f"The model still wanted tools after {limits.rounds} rounds (MAX_TOOL_ROUNDS).")


def _check(usage: Usage, limits: Limits, until: float) -> None:
    if (usage.input or 0) + (usage.output or 0) > limits.tokens:
        raise ToolLimit(f"The rounds with tools used more than {limits.tokens} tokens (MAX_TOOL_TOKENS).")
    if time.monotonic() >= until:
        raise _too_late(limits)


def _too_late(limits: Limits) -> ToolLimit:
    return ToolLimit(f"The rounds with tools took longer than {limits.seconds:g} seconds (MAX_TOOL_TIME).")


def _next(
    request: ChatRequest, reply: Reply, calls: Sequence[ToolCall], results: Sequence[ToolResult], *, first: bool
) -> ChatRequest:
    """The same request with the round behind it; a tool that had to be called was."""
    order = {call.id: n for n, call in enumerate(calls)}
    messages = (*request.messages, reply.message)
    if results:
        in_order = sorted(results, key=lambda result: order[result.call_id])
        messages = (*messages, Message("user", (*in_order,)))
    options = request.options
    if first and options.tool_choice not in (None, "auto", "none"):
        options = replace(options, tool_choice="auto")
    return replace(request, messages=messages, options=options)


class _Answer:
    """What a client is told of all rounds."""

    def __init__(self) -> None:
        self.usage = Usage()  # of all rounds so far
        self._before = Usage()  # of the rounds before this one
        self._started = False
        self._base = 0  # index of the first part of this round
        self._next = 0
        self._indexes: dict[str, int] = {}  # of calls by id
        self._round = Collector()
        self._finish: Finished | None = None

    def told(self, batch: Batch, tools: Mapping[str, Tool]) -> list[Event]:
        out: list[Event] = []
        for event in batch:
            self._round.feed(event)
            match event:
                case Started():
                    if not self._started:
                        out.append(event)
                    self._started = True
                case UsageReported(usage):
                    self.usage = self._before + usage
                    out.append(UsageReported(self.usage))
                case Finished():
                    self._finish = event
                case _:
                    out.append(self._renumbered(event, tools))
        return out

    def told_shortly(self, delta: Delta) -> Delta:
        self._round.feed(delta)
        return type(delta)(self._seen(delta.index), delta.text)

    def ended(self) -> tuple[Reply, Finished]:
        """This round as a whole; the next one begins. Raises ``Truncated`` if nothing finished."""
        reply = self._round.reply()
        self._round, self._base, self._before = Collector(), self._next, self.usage
        finish, self._finish = self._finish or reply.finish, None
        return reply, finish

    def index_of(self, call: ToolCall) -> int:
        return self._indexes[call.id]

    def new_part(self) -> int:
        index = self._next
        self._next = self._base = index + 1
        return index

    def _renumbered(self, event: Event, tools: Mapping[str, Tool]) -> Event:
        match event:
            case ToolCallStarted(index, id, name, executor):
                self._indexes[id] = self._seen(index)
                own = executor == "client" and name in tools
                return ToolCallStarted(self._seen(index), id, name, "server" if own else executor)
            case TextDelta(index, text):
                return TextDelta(self._seen(index), text)
            case ReasoningDelta(index, text):
                return ReasoningDelta(self._seen(index), text)
            case ToolCallDelta(index, arguments):
                return ToolCallDelta(self._seen(index), arguments)
            case PartEnded(index, keep, ran):
                return PartEnded(self._seen(index), keep, ran)
            case WholePart(index, part):
                return WholePart(self._seen(index), part)
            case Cited(index, citation):
                return Cited(self._seen(index), citation)
        return event

    def _seen(self, index: int) -> int:
        self._next = max(self._next, self._base + index + 1)
        return self._base + index


async def _called(
    calls: Sequence[ToolCall], tools: Mapping[str, Tool], limits: Limits, answer: _Answer, until: float
) -> AsyncGenerator[list[Event], None]:
    """All calls of a round at once; what each came to, as soon as it has. What still runs at ``until`` is stopped."""
    running = {asyncio.create_task(_result(call, tools, limits.tool_timeout)): call for call in calls}
    try:
        yield [_progress(call, "running", tools, answer) for call in calls]
        waiting = set(running)
        while waiting:
            left = max(until - time.monotonic(), 0)
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise _too_late(limits)
            events: list[Event] = []
            for task in done:
                result = task.result()
                state: ToolState = "error" if result.is_error else "completed"
                events.append(WholePart(answer.new_part(), result))
                events.append(_progress(running[task], state, tools, answer))
            yield events
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _progress(call: ToolCall, state: ToolState, tools: Mapping[str, Tool], answer: _Answer) -> ToolProgress:
    tool, arguments = tools.get(call.name), _arguments(call)
    status = tool.describe(state, arguments) if tool and isinstance(arguments, dict) else ""
    return ToolProgress(answer.index_of(call), state, status)


def _arguments(call: ToolCall) -> Json:
    """What the model wrote; none are an empty object, which some models spell ``null``."""
    try:
        value: Json = loads(call.arguments or "{}")
    except ValueError:
        return call.arguments
    return {} if value is None else value


async def _result(call: ToolCall, tools: Mapping[str, Tool], seconds: float) -> ToolResult:
    """A failure is told to the model, which may do better."""
    try:
        content = await _tried(call, tools, seconds)
    except ToolFailed as failure:
        error: Json = {"error": str(failure)}
        return ToolResult(call.id, (Text(dumps(error)),), is_error=True, name=call.name)
    return ToolResult(call.id, content, name=call.name)


async def _tried(call: ToolCall, tools: Mapping[str, Tool], seconds: float) -> tuple[Text | Media, ...]:
    tool, arguments = tools.get(call.name), _arguments(call)
    if tool is None:
        raise ToolFailed(f"There is no tool {call.name!r}; there are {', '.join(tools)}.")
    if not isinstance(arguments, dict):
        raise ToolFailed("The arguments are not a JSON object.")
    fault = best_match(Draft202012Validator(dict(tool.spec.parameters)).iter_errors(arguments))
    if fault is not None:
        where = ".".join(str(step) for step in fault.absolute_path)
        raise ToolFailed(f"The arguments are wrong: {where + ': ' if where else ''}{fault.message[:300]}")
    try:
        async with asyncio.timeout(seconds):
            value = await tool(arguments)
    except ToolFailed:
        raise
    except TimeoutError:
        raise ToolFailed(f"{call.name} took longer than {seconds:g} seconds.") from None
    except Exception as error:  # a bug of the tool's costs the model its result, not the client its answer
        log.write("tool", 40, exc_info=error, tool=call.name)
        raise ToolFailed(f"{call.name} failed.") from None
    if isinstance(value, tuple):
        return value
    text = value if isinstance(value, str) else dumps(value)
    return (Text(_cut(text)),)


def _cut(text: str) -> str:
    if len(text) <= MAX_RESULT:
        return text
    return f"{text[:MAX_RESULT]}\n[cut here: {len(text) - MAX_RESULT} more characters]"
