"""The chat service without HTTP: a call, a caller and a sink; engines are scripted transports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from handlers.context import Context
from llm.chat.events import Finished, Started, UsageReported
from llm.chat.reply import Reply, collect
from llm.chat.request import ChatRequest
from llm.dialects import anthropic, native, openai_chat
from llm.dialects.base import ClientDialect
from llm.errors import EngineFailed, InvalidRequest, Truncated, UnknownModel
from llm.gateway.callers import Caller
from llm.gateway.chat import ChatCall
from llm.transport.interface import HttpRequest
from llm.upstream.call_record import CallRecord
from llm.wire.json_codec import Json, loads
from server import make_context
from tests.support.harness import ScriptedReply, ScriptedTransport, make_config
from tests.support.lanes import RecordingSink
from tests.support.tool_rounds import ScriptedTool, make_round
from tests.support.wires import WIRES

OWNER = Caller(trusted=True, names=frozenset({"me"}))
WIRE = WIRES["openai"]
STREAM = [WIRE.head, WIRE.delta("Hel"), WIRE.delta("lo"), WIRE.end]


class ClientSink(RecordingSink):
    """A client that is never slow."""

    def __init__(self) -> None:
        super().__init__()
        self.request: ChatRequest | None = None
        self.reply: Reply | None = None

    def begin(self, request: ChatRequest) -> None:
        self.request = request

    def write_reply(self, reply: Reply, request: ChatRequest) -> None:
        assert request is self.request
        self.reply = reply


def scripted(*rounds: list[bytes], status: int = 200, kind: str = "text/event-stream") -> ScriptedTransport:
    """Each request gets the next of these answers, the last one again and again."""

    def answer(request: HttpRequest) -> ScriptedReply:
        number = min(len(transport.requests), len(rounds)) - 1
        return ScriptedReply(status, {"Content-Type": kind}, rounds[number])

    transport = ScriptedTransport(answer)
    return transport


def context_of(
    transport: ScriptedTransport, tmp_path: Path, tools: Mapping[str, ScriptedTool] | None = None
) -> Context:
    configured = make_config(OPENAI_API_KEY="sk-canary-openai", DATA_DIR=str(tmp_path), MAX_RETRIES="0")
    return make_context(configured, None, tools or {}, http=transport, https=transport)


def call_of(dialect: ClientDialect, **body: Any) -> ChatCall:
    return ChatCall("request-1", body, dialect, CallRecord(), {})


NATIVE: dict[str, Any] = {"engine": "openai", "model": "m", "prompt": "Hi", "stream": True}
COMPATIBLE: dict[str, Any] = {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


async def test_a_client_of_the_engine_s_dialect_gets_the_engine_s_bytes(tmp_path: Path) -> None:
    sink, call = ClientSink(), call_of(openai_chat, **COMPATIBLE, stream_options={"include_usage": True})
    await context_of(scripted(STREAM), tmp_path).chat.answer(call, OWNER, sink)
    assert sink.bytes == b"".join(STREAM) and not sink.events
    assert sink.content_type == "text/event-stream"
    assert (call.record.finish_reason, call.record.characters) == ("stop", 5)
    assert call.body == {}, "the request is let go once it was sent (T18)"


async def test_a_client_of_another_dialect_gets_events_that_end_once(tmp_path: Path) -> None:
    sink, call = ClientSink(), call_of(anthropic, **COMPATIBLE, max_tokens=9)
    await context_of(scripted(STREAM), tmp_path).chat.answer(call, OWNER, sink)
    assert not sink.bytes
    kinds = [type(event) for event in sink.events]
    assert kinds[0] is Started and kinds[-1] is Finished and kinds.count(Finished) == 1
    assert collect(sink.events).text == "Hello"
    assert call.record.target is not None and call.record.target.engine.name == "openai"


async def test_a_whole_answer_reaches_the_sink_as_one_reply(tmp_path: Path) -> None:
    body = {**COMPATIBLE, "stream": False, "max_tokens": 9}
    whole = json.dumps(WIRE.whole("Hello")).encode()
    sink = ClientSink()
    context = context_of(scripted([whole], kind="application/json"), tmp_path)
    await context.chat.answer(call_of(anthropic, **body), OWNER, sink)
    assert sink.reply is not None and sink.reply.text == "Hello" and not sink.events


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unknown_model_and_a_bad_request_are_refused_before_any_request(stream: bool, tmp_path: Path) -> None:
    transport = scripted(STREAM)
    chat = context_of(transport, tmp_path).chat
    for call, error in (
        (call_of(openai_chat, **{**COMPATIBLE, "model": "m", "stream": stream}), UnknownModel),
        (call_of(openai_chat, **{**COMPATIBLE, "messages": [{"role": "user", "content": 5}]}), InvalidRequest),
    ):
        with pytest.raises(error):
            await chat.answer(call, OWNER, ClientSink())
    assert not transport.requests


@pytest.mark.parametrize("dialect", [openai_chat, anthropic], ids=["passthrough", "translated"])
async def test_an_error_of_the_engine_is_raised_and_a_cut_stream_is_truncated(
    dialect: ClientDialect, tmp_path: Path
) -> None:
    body = {**COMPATIBLE, "max_tokens": 9}
    refused = scripted([b'{"error":{"message":"No."}}'], status=500, kind="application/json")
    with pytest.raises(EngineFailed, match="No"):
        await context_of(refused, tmp_path).chat.answer(call_of(dialect, **body), OWNER, ClientSink())
    sink = ClientSink()
    with pytest.raises(Truncated):
        await context_of(scripted(STREAM[:-1]), tmp_path).chat.answer(call_of(dialect, **body), OWNER, sink)
    assert sink.events or sink.bytes == b"".join(STREAM[:-1])


async def test_a_native_chat_runs_tools_and_reports_one_answer(tmp_path: Path) -> None:
    called: list[Mapping[str, Json]] = []

    async def double(arguments: Mapping[str, Json]) -> Json:
        called.append(arguments)
        return {"n": 2}

    transport = scripted([make_round("openai", "", [("double", '{"n": 1}')])], [make_round("openai", "Two", [])])
    sink = ClientSink()
    context = context_of(transport, tmp_path, {"double": ScriptedTool("double", double)})
    await context.chat.answer_native(call_of(native, **NATIVE), OWNER, sink)
    assert called == [{"n": 1}] and len(transport.requests) == 2
    assert [type(event) for event in sink.events].count(Started) == 1
    reply = collect(sink.events)
    assert reply.text == "Two" and reply.finish.reason == "stop"
    *_, usage = (event.usage for event in sink.events if isinstance(event, UsageReported))
    assert usage == reply.usage


async def test_a_native_chat_in_a_thread_continues_it_and_says_that_it_is_stored(tmp_path: Path) -> None:
    transport = scripted(STREAM)
    context = context_of(transport, tmp_path)
    owner = OWNER.make_thread_owner()
    thread = (await context.threads.create(owner, "")).id
    for prompt in ("One", "Two"):
        sink = ClientSink()
        body = {**NATIVE, "prompt": prompt, "thread": thread}
        await context.chat.answer_native(call_of(native, **body), OWNER, sink)
        assert isinstance(end := sink.events[-1], Finished)
        assert [part.data for part in end.metadata] == [{"thread": {"id": thread, "saved": True}}]
    sent = loads(transport.requests[-1].body or b"")
    assert [(m["role"], m["content"]) for m in sent["messages"]][1:] == [
        ("user", "One"),
        ("assistant", "Hello"),
        ("user", "Two"),
    ]
    assert len(await context.threads.read_messages(thread, owner)) == 4
    await context.threads.close()


async def test_a_title_is_asked_without_tools(tmp_path: Path) -> None:
    whole = json.dumps(WIRE.whole('"A title"')).encode()
    transport = scripted([whole], kind="application/json")
    body = {"engine": "openai", "model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    sink = ClientSink()
    await context_of(transport, tmp_path).chat.answer_title(call_of(native, **body), OWNER, sink)
    assert sink.reply is not None and sink.reply.text == '"A title"'
    assert "tools" not in loads(transport.requests[0].body or b"")
