"""The chat service: answers one chat request of a client, in any dialect of client and engine.

A handler calls it with a chat, a caller and a sink. It decides on engine and model, on passthrough or translation, and
on tools, history, rounds and what is stored at the end.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from llm import log
from llm.chat.events import Event, Finished
from llm.chat.grammar import ArgumentsCheck, Grammar, GrammarError
from llm.chat.history import close_open_calls, split_rounds
from llm.chat.messages import Message
from llm.chat.pipeline import CollectingSink, EventSink, Pipeline, Stage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import Collector, Reply
from llm.chat.request import ChatRequest, asks_for_web
from llm.dialects import native
from llm.dialects.base import ClientDialect
from llm.dialects.registry import ENGINE_DIALECTS, passthrough_target
from llm.engines.api_choice import choose_other_api, use_chat, use_responses
from llm.engines.capabilities import guess_capabilities
from llm.engines.engine import Target
from llm.errors import EngineFailed, LLMError
from llm.gateway.call_keys import digest_prefixes, has_calls
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.gateway.prompts import add_dates, date_prompt, default_system_message, read_title_request, read_today
from llm.gateway.signature_cache import SignatureCache, SignatureRecorder
from llm.gateway.tool_loop import AskEngine, ToolLimits, run_rounds
from llm.gateway.tool_names import ClientToolNames, fit_tool_names
from llm.http1.threads import run_in_thread
from llm.storage.threads import Owner, ThreadStore
from llm.tools.base import Tool, Tools, pick_tools
from llm.tools.hosted import HostedRuns, pick_web_tools
from llm.upstream.call_record import CallRecord
from llm.upstream.engine_client import EngineClient
from llm.upstream.passthrough.round import PassthroughRound
from llm.upstream.translate import EngineRound
from llm.wire.json_codec import Json, loads

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Sink(EventSink, Protocol):
    """Receives an answer: the connection of one client."""

    @property
    def holds_end(self) -> bool:
        """As in ``ByteSink``."""
        ...

    def begin(self, request: ChatRequest) -> None:
        """Prepares for the answer to ``request``, which may be streamed or whole."""
        ...

    def send(self, piece: bytes) -> bool:
        """Sends bytes of a passed-through answer: a piece of a stream, or the whole body. Returns as :meth:`feed`."""
        ...

    def send_last(self, piece: bytes) -> bool:
        """Sends the last bytes of a passed-through stream, together with what ends the answer."""
        ...

    def write_reply(self, reply: Reply, request: ChatRequest) -> None:
        """Sends a translated answer that is not streamed."""
        ...


@dataclass(slots=True)
class ChatCall:
    """One chat as its client sent it."""

    id: str  # of the request, for the log
    body: dict[str, Any]  # the JSON without the caller's keys; cleared when it is no longer needed
    dialect: ClientDialect
    record: CallRecord
    headers: Mapping[str, str] = field(default_factory=dict)  # sent in addition, to engines of the client's dialect
    query: str = ""  # of the URL, for the same engines
    may_pass: bool = True  # False: the answer is translated, also by an engine of the client's dialect

    def headers_for(self, target: Target) -> Mapping[str, str]:
        """Returns the client's headers for an engine of the client's dialect; names those that it does not get."""
        same = target.engine.dialect == self.dialect.NAME
        known = self.dialect.CLIENT_HEADERS
        sent, self.record.unsent_headers = known.select(self.headers, same_dialect=same, own_key=target.is_callers_key)
        return sent


@dataclass(slots=True)
class ThreadTurn:
    """A prompt in a thread, with the stage that collects its answer."""

    id: str
    owner: Owner
    prompt: Message
    answer: Collector = field(default_factory=Collector)


class ChatService:
    """Answers chats. It holds no state of a single chat."""

    def __init__(
        self,
        catalog: Catalog,
        client: EngineClient,
        signatures: SignatureCache,
        threads: ThreadStore,
        tools: Tools,
        limits: ToolLimits,
        *,
        check_grammar: bool = False,
    ) -> None:
        self._catalog = catalog
        self._client = client
        self._signatures = signatures
        self._threads = threads
        self._tools = tools
        self._limits = limits
        self._check_grammar = check_grammar

    def answer(self, call: ChatCall, caller: Caller, sink: Sink) -> Coroutine[Any, Any, None]:
        """Answers a chat of a compatible API, whose model is named ``engine/model``.

        Reads the request at once; what is returned is to be awaited for its answer. Raises ``LLMError``, and
        ``StreamClosedError`` if the client has disconnected. Cancelling the task cancels it.
        """
        # The request may be large, and nobody needs it while its answer comes (T18): no frame here keeps it.
        target = call.record.target = self._catalog.resolve_model_name(call.body["model"], caller)
        target = self._client.memory.adapt(target)
        if call.record.heavy:
            return self._answer_heavy(target, call, caller, sink)
        request = call.dialect.read_request(call.body)
        sink.begin(request)
        route = self._find_route(request, target, call, caller)
        if route is None:
            call.body.clear()
            return self._translate(request, target, call, caller, sink)
        headers = call.headers_for(route) if call.headers else _NO_HEADERS
        passing = PassthroughRound(call.body, request, route, self._client, call.record, sink, headers, call.query)
        call.body.clear()
        if route.engine.dialect == target.engine.dialect or choose_other_api(request, route) is None:
            return passing.run()
        return self._pass_or_translate(passing, target, call, caller, sink)

    def _find_route(self, request: ChatRequest, target: Target, call: ChatCall, caller: Caller) -> Target | None:
        """Returns where the request can be passed through; None also if this server has to run a tool for it."""
        route = passthrough_target(call.dialect.NAME, request, target) if call.may_pass else None
        if route is None or not request.tools:
            return route
        return None if pick_web_tools(request, route, self._tools, trusted=caller.trusted)[1] else route

    async def _answer_heavy(self, target: Target, call: ChatCall, caller: Caller, sink: Sink) -> None:
        """Does what :meth:`answer` does; the work on the request in a thread."""
        request = await run_in_thread(call.dialect.read_request, call.body)
        sink.begin(request)
        route = self._find_route(request, target, call, caller)
        if route is None:
            call.body.clear()
            answer = self._translate(request, target, call, caller, sink)
        else:
            headers = call.headers_for(route) if call.headers else _NO_HEADERS
            call.record.dropped = call.record.unsent_headers
            passing = await run_in_thread(
                PassthroughRound, call.body, request, route, self._client, call.record, sink, headers, call.query
            )
            call.body.clear()
            answer = self._pass_or_translate(passing, target, call, caller, sink)
            del passing
        del request
        await answer

    async def _pass_or_translate(
        self, passing: PassthroughRound, target: Target, call: ChatCall, caller: Caller, sink: Sink
    ) -> None:
        """Passes a request through; translates it to the engine's other API if the engine lacks this one."""
        try:
            await passing.run()
            return
        except LLMError as error:
            if not error.lack:
                raise
            found = passing.take_request()
            if found is None or choose_other_api(found[0], use_responses(target)) is None:
                raise
            call.record.lack = error.lack
        request, raw = found
        if raw is not None:
            request = replace(await run_in_thread(_read_again, call.dialect, raw), model=request.model)
        answer = self._translate(request, use_chat(target), call, caller, sink)
        del passing, found, request, raw  # this frame stays for as long as the answer takes
        await answer

    async def answer_native(self, call: ChatCall, caller: Caller, sink: Sink) -> None:
        """Answers a native chat, with this server's tools and threads. Raises as :meth:`answer`."""
        body, record, client = call.body, call.record, self._client
        target = record.target = self._catalog.resolve_target(body["engine"], body["model"], caller)
        tools = self._pick_tools(body, target, caller)
        request, turn = await self._read_native(body, caller, record.heavy)
        if tools:
            request = replace(request, tools=tuple(tool.spec for tool in tools.values()))
        sink.begin(request)
        body.clear()
        stages = self._with_checks(call, (turn.answer,) if turn else ())
        output = _Output(sink, _without_messages(request) if record.heavy else request)
        if tools:
            ask = _ask_engine(target, client, record, Pipeline(stages, output.sink))
            answer = run_rounds(request, ask, tools, self._limits, record, Pipeline(stages, output.sink))
        else:
            answer = EngineRound(request, target, client, record, output.sink, stages).run()
        del request, call, caller, body, tools  # this frame stays for as long as the answer takes
        finish = await answer
        events = _pass_through(stages, [finish])
        if turn is not None:
            events = [await self._store(turn, finish, record)]
        await output.end(events)

    def answer_title(self, call: ChatCall, caller: Caller, sink: Sink) -> Coroutine[Any, Any, None]:
        """Answers the request for a title of a conversation. Returns and raises as :meth:`answer`."""
        target = call.record.target = self._catalog.resolve_target(call.body["engine"], call.body["model"], caller)
        request = read_title_request(call.body)
        sink.begin(request)
        call.body.clear()
        return self._translate(request, target, call, caller, sink)

    def _translate(
        self, request: ChatRequest, target: Target, call: ChatCall, caller: Caller, sink: Sink
    ) -> Coroutine[Any, Any, None]:
        if request.tools or has_calls(request):
            return self._translate_with_tools(request, target, call, caller, sink)
        output = _Output(sink, _without_messages(request) if call.record.heavy else request)
        stages = self._with_checks(call, ())
        headers = call.headers_for(target) if call.headers else _NO_HEADERS
        answer = EngineRound(request, target, self._client, call.record, output.sink, stages, headers).run()
        return _end_with(answer, output, stages)

    async def _translate_with_tools(
        self, request: ChatRequest, target: Target, call: ChatCall, caller: Caller, sink: Sink
    ) -> None:
        # Signatures of one engine are invalid for others, whose calls may have the same ids.
        owner = " ".join((target.engine.name, *sorted(caller.names)))
        heavy, recorder = call.record.heavy, None
        prefixes = await run_in_thread(digest_prefixes, request) if heavy else digest_prefixes(request)
        await self._signatures.fetch(owner, request, prefixes)
        request = self._signatures.restore(owner, request, prefixes)
        if request.tools:
            unsigned = target.engine.quirks.unsigned_reasoning or target.engine.quirks.think_tags
            recorder = SignatureRecorder(self._signatures, owner, prefixes[-1], keeps_unsigned=unsigned)
        del prefixes
        own: Mapping[str, Tool] = {}
        values = (ArgumentsCheck(),) if request.tools and call.dialect.ARGUMENTS_ARE_VALUES else ()
        stages: tuple[Stage, ...] = (*values, recorder) if recorder else values
        if asks_for_web(request):
            web_stage = call.dialect.ANSWER_FORMS.web_stage
            request, own = pick_web_tools(request, target, self._tools, trusted=caller.trusted)
            hosted = (HostedRuns(cites=web_stage is None),) if own else ()
            stages = (*stages, *hosted, *((web_stage(),) if web_stage is not None else ()))
        stages = self._with_checks(call, stages)
        output = _Output(sink, _without_messages(request) if heavy else request)
        accepted = ENGINE_DIALECTS[target.engine.dialect].TOOL_NAMES
        request, names = (
            await run_in_thread(fit_tool_names, request, accepted) if heavy else fit_tool_names(request, accepted)
        )
        stages = (ClientToolNames(names), *stages) if names else stages
        headers = call.headers_for(target) if call.headers else _NO_HEADERS
        if own:
            pipeline = Pipeline(stages, output.sink)
            ask = _ask_engine(target, self._client, call.record, pipeline, headers)
            client_tools = {tool.name for tool in request.tools} - own.keys()
            answer = run_rounds(request, ask, own, self._limits, call.record, pipeline, client_tools)
        else:
            answer = EngineRound(request, target, self._client, call.record, output.sink, stages, headers).run()
        del request, call, caller, owner, headers, own  # this frame stays for as long as the answer takes
        await _end_with(answer, output, stages, recorder)

    def _with_checks(self, call: ChatCall, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        return (*stages, GrammarCheck(call.id)) if self._check_grammar else stages

    def _pick_tools(self, body: Mapping[str, Any], target: Target, caller: Caller) -> Mapping[str, Tool]:
        """Returns all tools, none or the named ones; "all" gives none for a model that is not known to call tools."""
        tools = pick_tools(body.get("tools"), self._tools, trusted=caller.trusted)
        if body.get("tools") not in (None, True):
            return tools
        known = self._catalog.find_model_info(target)
        abilities = known.can if known else guess_capabilities(target.model, target.engine.models, ())
        return tools if "tools" in abilities else {}

    async def _read_native(
        self, body: dict[str, Any], caller: Caller, heavy: bool
    ) -> tuple[ChatRequest, ThreadTurn | None]:
        """Reads a native request. In a thread, the stored messages replace ``messages``."""
        thread, today = body.get("thread"), read_today()
        if thread is None:
            default = default_system_message(today)
            read = native.read_request
            return await run_in_thread(read, body, default) if heavy else read(body, default), None
        request = native.read_request({**body, "messages": None})
        *system, prompt = request.messages
        owner = caller.make_thread_owner()
        history = close_open_calls(await self._threads.read_messages(thread, owner))
        if system or any(message.role == "system" for message in history):
            return replace(request, messages=(*system, *history, prompt)), ThreadTurn(thread, owner, prompt)
        prompt = date_prompt(history, prompt, today)
        return replace(request, messages=add_dates((*history, prompt))), ThreadTurn(thread, owner, prompt)

    async def _store(self, turn: ThreadTurn, finish: Finished, record: CallRecord) -> Finished:
        """Appends the exchange to the thread; returns ``finish`` with ``{"thread": {"id", "saved", "error"?}}`` in its
        metadata. The answer succeeds even if the store fails (O2).
        """
        stored: dict[str, Json] = {"id": turn.id, "saved": True}
        try:
            if finish.reason == "error":
                raise EngineFailed("The answer failed.")
            messages = (turn.prompt, *split_rounds(turn.answer.build_reply().message))
            await self._threads.append(turn.id, turn.owner, messages)
        except LLMError as error:
            stored |= {"saved": False, "error": error.message, "code": error.code}
            record.save_error_code = error.code
        return replace(
            finish, metadata=(*finish.metadata, ProviderMetadata(native.NAME, native.NAME, {"thread": stored}))
        )


def _ask_engine(
    target: Target,
    client: EngineClient,
    record: CallRecord,
    sink: EventSink,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> AskEngine:
    def ask(request: ChatRequest, rounds: Sequence[Stage]) -> Coroutine[Any, Any, Finished]:
        return EngineRound(request, target, client, record, sink, rounds, headers).run()

    return ask


async def _end_with(
    answer: Coroutine[Any, Any, Finished],
    output: _Output,
    stages: Sequence[Stage],
    recorder: SignatureRecorder | None = None,
) -> None:
    """Waits for the end of the answer and sends it. An open stream keeps this frame, which is small for that."""
    events = _pass_through(stages, [await answer])
    if recorder is not None:  # the client's next request may reach another worker, which needs the signatures
        await recorder.share()
    await output.end(events)


def _read_again(dialect: ClientDialect, raw: bytes) -> ChatRequest:
    return dialect.read_request(loads(raw))


def _pass_through(stages: Sequence[Stage], events: Sequence[Event]) -> Sequence[Event]:
    for stage in stages:
        events = stage.feed(events)
    return events


def _without_messages(request: ChatRequest) -> ChatRequest:
    """Returns what the writer of an answer needs of a request; its messages may be large."""
    return replace(request, messages=())


class _Output:
    """The sink of one answer: the client if it is streamed, else a collector for the whole answer."""

    __slots__ = ("_client", "_request", "sink")

    def __init__(self, client: Sink, request: ChatRequest) -> None:
        self._client = client
        self._request = None if request.stream else request  # needed to write a whole answer
        self.sink: EventSink = client if request.stream else CollectingSink()

    async def end(self, events: Sequence[Event]) -> None:
        """Sends the last events, which have passed the stages, or the whole answer."""
        if not self.sink.feed(events):
            await self.sink.drain()
        if isinstance(self.sink, CollectingSink) and self._request is not None:
            self._client.write_reply(self.sink.build_reply(), self._request)


class GrammarCheck:
    """The stage of ``CHECK_GRAMMAR``: logs events that break the grammar of a stream (S7)."""

    def __init__(self, id: str) -> None:
        self._grammar = Grammar()
        self._id = id

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Logs an error of the grammar; returns ``events`` unchanged."""
        try:
            self._grammar.feed(events)
        except GrammarError as broken:
            log.write("grammar", 40, id=self._id, what=str(broken)[:500])
        return events
