"""Streams through the running server, from every engine wire to every client wire."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from llm import log
from tests.support.harness import CLIENT, Client, Connection, Request
from tests.support.streams import make_script, run_between
from tests.support.wires import CLIENTS, WIRES, ClientResult, ClientWire, Wire, _chunk, make_config, run_server

ALL = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
EVERY = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


async def ask(server: Client, client: ClientWire, wire: Wire) -> ClientResult:
    answer = await server.post(client.path, client.request(wire.engine), client.headers)
    assert answer.status == 200, await answer.body()
    return client.read(await answer.body())


@ALL
@EVERY
async def test_a_stream_arrives_with_text_finish_and_usage(wire: Wire, client: ClientWire) -> None:
    script = make_script(wire, wire.head, wire.delta("Hello "), wire.delta("wörld 🎈"), wire.end)
    async with run_between(wire, script) as (server, _):
        seen = await ask(server, client, wire)
    assert seen.text == "Hello wörld 🎈"
    assert seen.ended and seen.error is None
    assert seen.finish in ("stop", "end_turn")
    assert seen.usage is not None
    counts = [*seen.usage.values()]
    assert 5 in counts and 2 in counts


@ALL
@EVERY
async def test_s1_a_stream_without_its_end_is_an_error_and_never_a_normal_finish(
    wire: Wire, client: ClientWire
) -> None:
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Half an "))) as (server, _):
        seen = await ask(server, client, wire)
    assert seen.text == "Half an "
    assert seen.error is not None
    assert seen.finish is None
    assert not seen.ended or client.name == "openai"  # [DONE] follows the error
    if client.name != "anthropic":
        assert seen.error["code"] == "upstream_truncated"


@ALL
@EVERY
async def test_s1_a_connection_cut_in_mid_stream_is_an_error(wire: Wire, client: ClientWire) -> None:
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Half an "), cut=True)) as (server, _):
        seen = await ask(server, client, wire)
    assert seen.text == "Half an "
    assert seen.error is not None and seen.finish is None


@ALL
@EVERY
async def test_s1_an_answer_that_ends_inside_an_event_is_truncated_too(wire: Wire, client: ClientWire) -> None:
    half = wire.delta("never told")[:-12]
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Half an "), half)) as (server, _):
        seen = await ask(server, client, wire)
    assert seen.text == "Half an "
    assert seen.error is not None and seen.finish is None
    if client.name == "native":
        assert seen.error["code"] == "upstream_truncated"


@ALL
@EVERY
async def test_s2_an_error_inside_the_stream_keeps_its_message(wire: Wire, client: ClientWire) -> None:
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Then "), wire.error)) as (server, _):
        seen = await ask(server, client, wire)
    assert seen.text == "Then "
    assert seen.error is not None and seen.finish is None
    message = seen.error["error"] if client.name == "native" else seen.error["message"]
    assert "It broke." in message


@ALL
@EVERY
async def test_s10_each_chunk_is_sent_before_the_next_arrives(wire: Wire, client: ClientWire) -> None:
    """The upstream sends the next word only after the client has received the previous one."""
    heard = asyncio.Semaphore(0)

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await heard.acquire()  # the headers have arrived
        await connection.chunk(wire.head + wire.delta("one "))
        for word in ("two ", "three "):
            await heard.acquire()
            await connection.chunk(wire.delta(word))
        await heard.acquire()
        await connection.chunk(wire.end)
        await connection.end()

    async with run_between(wire, script) as (server, _):
        answer = await server.send("POST", client.path, client.request(wire.engine), client.headers)
        await answer.head()
        assert answer.headers["Cache-Control"] == "no-store, no-transform"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in answer.headers
        heard.release()
        raw = b""
        words = ["one ", "two ", "three "]
        async for chunk in answer.chunks():
            raw += chunk
            while words and words[0].strip().encode() in raw:
                words.pop(0)
                heard.release()
    assert not words


@EVERY
async def test_s11_keepalives_are_sent_while_the_provider_is_silent(wire: Wire) -> None:
    for client in CLIENTS.values():
        go = asyncio.Event()

        async def script(request: Request, connection: Connection, go: asyncio.Event = go) -> None:
            await go.wait()
            await connection.stream(wire.content_type)
            await connection.chunk(wire.head + wire.delta("At last") + wire.end)
            await connection.end()

        async with run_between(wire, script, KEEPALIVE_INTERVAL="0.05") as (server, _):
            answer = await server.post(client.path, client.request(wire.engine), client.headers)
            assert answer.status == 200  # although the provider has sent nothing
            pings = []
            raw = b""
            async for chunk in answer.chunks():
                raw += chunk
                if not go.is_set():
                    pings.append(chunk)
                if len(pings) == 2:
                    go.set()
            assert client.read(raw.replace(b": ping\n\n", b"")).text == "At last"
            assert len(set(pings)) == 1


@EVERY
async def test_s11_a_failure_after_the_forced_200_is_an_error_object_with_status_and_retry_after(wire: Wire) -> None:
    go = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await go.wait()
        await connection.respond(wire.rate_limit, 429, headers={"Retry-After": "77"})

    async with run_between(wire, script, KEEPALIVE_INTERVAL="0.2") as (server, _):
        answer = await server.post("/llm/chat", CLIENTS["native"].request(wire.engine))
        assert answer.status == 200
        go.set()
        [error] = await answer.objects()
    assert error["type"] == "error" and error["done"]
    assert (error["status"], error["code"], error["retry_after"]) == (429, "rate_limited", 77)


@EVERY
async def test_s12_pings_do_not_keep_a_stalled_answer_alive(wire: Wire) -> None:
    hung_up = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.delta("Wait"))

        async def ping() -> None:
            while True:
                await connection.chunk(wire.ping)
                await asyncio.sleep(0.05)

        pinging = asyncio.create_task(ping())
        await connection.wait_closed()
        pinging.cancel()
        hung_up.set()

    async with run_between(wire, script, IDLE_TIMEOUT="0.3") as (server, _):
        objects = await server.chat(engine=wire.engine, model="m")
        async with asyncio.timeout(5):
            await hung_up.wait()
    assert [o.get("text") for o in objects[:-1]] == ["Wait"]
    assert (objects[-1]["type"], objects[-1]["code"], objects[-1]["status"]) == ("error", "idle_timeout", 504)


async def test_s12_each_timeout_has_its_own_code() -> None:
    wire = WIRES["openai"]

    async def silent(request: Request, connection: Connection) -> None:
        await connection.wait_closed()

    async with run_between(wire, silent, FIRST_BYTE_TIMEOUT="0.2") as (server, upstream):
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
        assert (answer.status, (await answer.json())["code"]) == (504, "first_byte_timeout")
        assert len(upstream.requests) == 1


@EVERY
async def test_s8_empty_and_unknown_frames_are_ignored(wire: Wire) -> None:
    odd = {
        "openai": b'data: {"choices": []}\n\ndata:{"choices":[{"index":0,"delta":null}]}\n\n: x\n\nevent: foo\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":null,"tool_calls":null}}]}\r\n\r\ndata: {"id":"c1"}\n\n',
        "responses": b': x\n\nevent: foo\n\nevent: new\ndata: {"type":"response.new_thing"}\n\ndata:{"type":"keepalive"}\n\n'
        b'data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":""}\r\n\r\n'
        b'data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"delta":null}\n\ndata: {}\n\n',
        "anthropic": b': x\n\nevent: foo\n\nevent: new_thing\ndata: {"type":"new_thing"}\n\n'
        b'event: ping\r\ndata:{"type": "ping"}\r\n\r\n',
        "google": b'data: {"candidates": []}\n\ndata:{"candidates":[{"content":null}]}\n\ndata: {}\n\n: x\n\n'
        b'data: {"candidates":[{"content":{"role":"model"}}]}\r\n\r\n',
        "ollama": b'\n\n{"model":"m","message":{"role":"assistant","content":""},"done":false}\r\n'
        b'{"message":null}\n{}\n',
    }[wire.engine]
    pieces = (wire.head, odd, wire.delta("A"), odd, wire.delta("B"), wire.end)
    async with run_between(wire, make_script(wire, *pieces)) as (server, _):
        objects = await server.chat(engine=wire.engine, model="m")
    texts = [o["text"] for o in objects if o["type"] == "content"]
    assert "".join(texts) == "AB"
    assert all(texts[:-1])


@EVERY
async def test_a_whole_json_answer_to_a_stream_request_is_read(wire: Wire) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(wire.whole("All at once"))

    async with run_between(wire, script) as (server, _):
        for client in CLIENTS.values():
            if client.name == wire.engine:
                continue  # passthrough: forwarded unchanged
            seen = await ask(server, client, wire)
            assert seen.text == "All at once" and seen.ended


@EVERY
async def test_an_answer_that_is_not_streamed(wire: Wire) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(wire.whole("All at once"))

    async with run_between(wire, script) as (server, _):
        answer = await server.post("/llm/chat", CLIENTS["native"].request(wire.engine, stream=False))
        whole = await answer.json()
        assert answer.status == 200
        assert whole["type"] == "text" and whole["content"] == "All at once"
        assert whole["finishReason"] == "stop" and whole["toolCalls"] == []
        assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (5, 2)
        answer = await server.post(
            "/v1/chat/completions", CLIENTS["openai"].request(wire.engine, stream=False, stream_options=None)
        )
        assert (await answer.json())["choices"][0]["message"]["content"] == "All at once"
        answer = await server.post("/v1/messages", CLIENTS["anthropic"].request(wire.engine, stream=False))
        assert (await answer.json())["content"][0]["text"] == "All at once"


@EVERY
async def test_s14_a_request_is_not_retried_after_the_first_event(wire: Wire) -> None:
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Once "), wire.error)) as (server, upstream):
        objects = await server.chat(engine=wire.engine, model="m")
    assert len(upstream.requests) == 1
    assert [o.get("text") for o in objects if o["type"] == "content"] == ["Once "]


async def test_s13_think_tags_become_reasoning_if_the_engine_record_sets_it() -> None:
    wire = WIRES["openai"]
    pieces = [wire.delta(c) for c in "<think>Hm.</think>\n\nYes."]
    async with run_between(wire, make_script(wire, wire.head, *pieces, wire.end), OPENAI_THINK_TAGS="true") as (
        server,
        _,
    ):
        objects = await server.chat(engine="openai", model="m")
        seen = await ask(server, CLIENTS["openai"], wire)
    assert "".join(o["text"] for o in objects if o["type"] == "reasoning") == "Hm."
    assert "".join(o["text"] for o in objects if o["type"] == "content") == "Yes."
    assert (seen.reasoning, seen.text) == ("Hm.", "Yes.")


async def test_s4_whole_arguments_are_written_once() -> None:
    """The call is in one chunk, as xAI and Groq send it."""
    wire = WIRES["openai"]
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    pieces = [_chunk({"tool_calls": [call]}), _chunk({}, "stop"), b"data: [DONE]\n\n"]
    async with run_between(wire, make_script(wire, wire.head, *pieces)) as (server, _):
        seen = await ask(server, CLIENTS["anthropic"], wire)
        objects = await server.chat(engine="openai", model="m")
    assert [(name, json.loads(arguments)) for name, arguments in seen.calls] == [("f", {"a": 1})]
    assert seen.finish == "tool_use"
    assert [o["call"]["params"] for o in objects if o["type"] == "tool"][-1] == {"a": 1}


async def test_the_older_framing_sends_one_object_per_chunk_and_merges_deltas() -> None:
    wire = WIRES["openai"]
    together = b"".join(wire.delta(f"{n} ") for n in range(50))
    async with run_between(wire, make_script(wire, wire.head, together, wire.end)) as (server, _):
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"), CLIENT)
        chunks = [chunk async for chunk in answer.chunks()]
    assert answer.headers["Content-Type"] == "application/json"
    assert all(chunk.count(b"\n") == 1 and chunk.endswith(b"}\n") for chunk in chunks)
    assert len(chunks) <= 4  # the text at once or in two reads, the end, the usage


async def test_a_client_of_http_1_0_gets_an_unframed_body() -> None:
    wire = WIRES["openai"]
    async with run_between(wire, make_script(wire, wire.head, wire.delta("Old"), wire.end)) as (server, _):
        lasting = {**CLIENT, "Connection": "keep-alive"}
        answer = await server.request("POST", "/llm/chat", CLIENTS["native"].request("openai"), lasting, version="1.0")
        raw = await answer.body()  # which ends only when the connection does
    assert "Transfer-Encoding" not in answer.headers
    assert CLIENTS["native"].read(raw).text == "Old"


async def test_each_request_is_one_log_line_with_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    try:
        async with run_server(make_config()) as server:
            await server.chat(engine="demo", model="demo-chat")
            await server.chat(engine="demo", model="demo-cut")
            await server.get("/llm/engines", {})
    finally:
        logging.getLogger().handlers.clear()
    good, cut, refused = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (good["status"], good["finish_reason"], good["engine"], good["model"]) == (200, "stop", "demo", "demo-chat")
    assert good["output_tokens"] > 0 and good["attempts"] == 1 and 0 <= good["first_token"] <= good["seconds"] + 0.001
    assert (cut["status"], cut["code"]) == (200, "upstream_truncated") and "finish" not in cut
    assert (refused["status"], refused["code"], refused["path"]) == (401, "unauthorized", "/llm/engines")
