"""The tool loop: rounds with an engine, and between them the tools that this server runs for the model.

It works on neutral events, so it is the same for all dialects. A client gets one answer: parts numbered consecutively,
usage summed, one end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from llm import log
from llm.chat.events import (
    Cited,
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
from llm.chat.pipeline import EventSink, Stage
from llm.chat.reply import Collector, Reply
from llm.chat.request import ChatRequest
from llm.errors import ToolLimit
from llm.tools.base import Tool, ToolFailed, ToolState
from llm.upstream.call_record import TOOL, CallRecord
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_schema import find_error

MAX_RESULT: Final = 200_000  # characters of one result; a longer one is cut, with a note for the model


class AskEngine(Protocol):
    """Runs one round with an engine."""

    def __call__(self, request: ChatRequest, rounds: Sequence[Stage], /) -> Coroutine[Any, Any, Finished]:
        """Sends one request and feeds its events through ``rounds`` to the client. Returns the end of that answer."""
        ...


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """Limits of one answer: MAX_TOOL_ROUNDS, TOOL_TIMEOUT, MAX_TOOL_TOKENS and MAX_TOOL_TIME."""

    rounds: int = 10
    tool_timeout: float = 300  # seconds, each call
    tokens: int = 1_000_000  # input and output, all rounds
    seconds: float = 900  # all rounds and tools


async def run_rounds(
    request: ChatRequest,
    ask: AskEngine,
    tools: Mapping[str, Tool],
    limits: ToolLimits,
    record: CallRecord,
    sink: EventSink,
    client_tools: Collection[str] = (),
) -> Finished:
    """Sends rounds to the engine and runs the tools that it calls, until it calls none.

    ``client_tools``: the names of the other tools that were offered. The client runs them: a call ends the answer.

    Returns the end of the answer, which is not fed to ``sink``. The usage of all rounds is written to ``record``.
    Raises ``LLMError``, ``ToolLimit`` among them. Cancelling it cancels running tools.
    """
    until = time.monotonic() + limits.seconds
    rounds = Rounds(record, client_tools)
    for number in range(limits.rounds):
        finish = await ask(request, (rounds,))
        reply = rounds.end_round(finish)
        calls = [part for part in reply.message.parts if isinstance(part, ToolCall) and part.executor == "client"]
        paused = finish.reason == "paused" and not calls
        own = [call for call in calls if call.name not in client_tools]
        called = finish.reason in ("tool_calls", "stop", "other") and bool(own)
        if not paused and not called:
            return finish
        _check(rounds.usage, limits, until)
        record.waiting_for = TOOL
        results = await _run_calls(own, tools, limits, rounds, until, sink) if own else []
        if len(own) < len(calls):
            return finish
        request = _next(request, reply, calls, results, first=number == 0)
        _check(rounds.usage, limits, until)
    raise ToolLimit(f"The model still called tools after {limits.rounds} rounds (MAX_TOOL_ROUNDS).")


def _check(usage: Usage, limits: ToolLimits, until: float) -> None:
    if (usage.input or 0) + (usage.output or 0) > limits.tokens:
        raise ToolLimit(f"The rounds with tools used more than {limits.tokens} tokens (MAX_TOOL_TOKENS).")
    if time.monotonic() >= until:
        raise _too_late(limits)


def _too_late(limits: ToolLimits) -> ToolLimit:
    return ToolLimit(f"The rounds with tools took longer than {limits.seconds:g} seconds (MAX_TOOL_TIME).")


def _next(
    request: ChatRequest, reply: Reply, calls: Sequence[ToolCall], results: Sequence[ToolResult], *, first: bool
) -> ChatRequest:
    """Returns the request of the next round. After the first, ``tool_choice`` no longer forces a tool."""
    order = {call.id: n for n, call in enumerate(calls)}
    messages = (*request.messages, reply.message)
    if results:
        in_order = sorted(results, key=lambda result: order[result.call_id])
        messages = (*messages, Message("user", (*in_order,)))
    options = request.options
    if first and options.tool_choice not in (None, "auto", "none"):
        options = replace(options, tool_choice="auto")
    return replace(request, messages=messages, options=options)


class Rounds:
    """The stage that joins all rounds to one answer: one start, parts numbered consecutively, usage summed."""

    def __init__(self, record: CallRecord, client_tools: Collection[str] = ()) -> None:
        """``client_tools``: names of tools that the client runs, not this server."""
        self._client_tools = client_tools
        self.usage = Usage()  # of all rounds so far
        self._before = Usage()  # of the rounds before this one
        self._started = False
        self._base = 0  # index of the first part of this round
        self._next = 0  # index of the next part
        self._indexes: dict[str, int] = {}  # part indexes of calls, by call id
        self._round = Collector()
        self._record = record

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events with part indexes and usage of the whole answer."""
        self._round.feed(events)
        out: list[Event] = []
        for event in events:
            match event:
                case TextDelta(index, text):
                    out.append(TextDelta(self._renumber(index), text))
                case ReasoningDelta(index, text):
                    out.append(ReasoningDelta(self._renumber(index), text))
                case Started():
                    if not self._started:
                        out.append(event)
                    self._started = True
                case UsageReported(usage):
                    self.usage = self._record.usage = self._before + usage
                    out.append(UsageReported(self.usage))
                case _:
                    out.append(self._renumber_part(event))
        return out

    def end_round(self, finish: Finished) -> Reply:
        """Returns this round as a whole and starts the next one."""
        self._round.feed((finish,))
        reply = self._round.build_reply()
        self._round, self._base, self._before = Collector(), self._next, self.usage
        return reply

    def index_of(self, call: ToolCall) -> int:
        """Returns the part index of a call."""
        return self._indexes[call.id]

    def add_part(self) -> int:
        """Returns the index of a part that this server adds between two rounds."""
        index = self._next
        self._next = self._base = index + 1
        return index

    def _renumber_part(self, event: Event) -> Event:
        match event:
            case ToolCallStarted(index, id, name, executor):
                self._indexes[id] = self._renumber(index)
                own = executor == "client" and name not in self._client_tools
                return ToolCallStarted(self._renumber(index), id, name, "server" if own else executor)
            case ToolCallDelta(index, arguments):
                return ToolCallDelta(self._renumber(index), arguments)
            case PartEnded(index, keep, ran, phase):
                return PartEnded(self._renumber(index), keep, ran, phase)
            case WholePart(index, part):
                return WholePart(self._renumber(index), part)
            case Cited(index, citation):
                return Cited(self._renumber(index), citation)
        return event

    def _renumber(self, index: int) -> int:
        self._next = max(self._next, self._base + index + 1)
        return self._base + index


async def _run_calls(
    calls: Sequence[ToolCall],
    tools: Mapping[str, Tool],
    limits: ToolLimits,
    rounds: Rounds,
    until: float,
    sink: EventSink,
) -> list[ToolResult]:
    """Runs all calls of a round concurrently and feeds each result to ``sink`` as soon as it is available.

    ``until``: by time.monotonic(). Tools that still run then are cancelled, and ``ToolLimit`` is raised.
    """
    running = {asyncio.create_task(_run_call(call, tools, limits.tool_timeout)): call for call in calls}
    results: list[ToolResult] = []
    try:
        await _feed(sink, [_progress(call, "running", tools, rounds) for call in calls])
        waiting = set(running)
        while waiting:
            left = max(until - time.monotonic(), 0)
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise _too_late(limits)
            events: list[Event] = []
            for task in done:
                result = task.result()
                results.append(result)
                state: ToolState = "error" if result.is_error else "completed"
                events.append(WholePart(rounds.add_part(), result))
                events.append(_progress(running[task], state, tools, rounds))
            await _feed(sink, events)
        return results
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _feed(sink: EventSink, events: Sequence[Event]) -> None:
    if not sink.feed(events):
        await sink.drain()


def _progress(call: ToolCall, state: ToolState, tools: Mapping[str, Tool], rounds: Rounds) -> ToolProgress:
    tool, arguments = tools.get(call.name), _arguments(call)
    status = tool.describe(state, arguments) if tool and isinstance(arguments, dict) else ""
    return ToolProgress(rounds.index_of(call), state, status)


def _arguments(call: ToolCall) -> Json:
    """Parses the arguments; returns the text if it is not JSON. No arguments, or ``null``, are an empty object."""
    try:
        value: Json = loads(call.arguments or "{}")
    except ValueError:
        return call.arguments
    return {} if value is None else value


async def _run_call(call: ToolCall, tools: Mapping[str, Tool], seconds: float) -> ToolResult:
    """Runs one call. A failure becomes a result with the error, so that the model can react."""
    try:
        content = await _run_tool(call, tools, seconds)
    except ToolFailed as failure:
        error: Json = {"error": str(failure)}
        return ToolResult(call.id, (Text(dumps(error)),), is_error=True, name=call.name)
    return ToolResult(call.id, content, name=call.name)


async def _run_tool(call: ToolCall, tools: Mapping[str, Tool], seconds: float) -> tuple[Text | Media, ...]:
    tool, arguments = tools.get(call.name), _arguments(call)
    if tool is None:
        raise ToolFailed(f"There is no tool {call.name!r}; there are {', '.join(tools)}.")
    if not isinstance(arguments, dict):
        raise ToolFailed("The arguments are not a JSON object.")
    fault = find_error(tool.spec.parameters, arguments)
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
    except Exception as error:  # a bug in a tool fails this call, not the whole answer
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
