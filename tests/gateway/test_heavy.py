"""Requests of thousands of messages: the same request as always reaches the engine, and the loop is not held."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from typing import Any

import pytest

import handlers.request.limits as limits
from handlers.request import body as request_body
from llm.http1 import threads
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.wire_server import wait_until
from tests.support.wires import CLIENTS, WIRES, ClientWire, Wire

MANY = 1000


def conversation(client: ClientWire, wire: Wire, count: int, stream: bool) -> dict[str, Any]:
    body = client.request(wire.engine)
    messages = [{"role": "user", "content": f'"{number}"\n'} for number in range(count)]
    answers = [{"role": "assistant", "content": [{"type": "text", "text": f"é{number}"}]} for number in range(count)]
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}
    asked = [{"role": "user", "content": "Hello"}]
    body["messages"] = [message for pair in zip(messages, answers, strict=True) for message in pair] + asked
    if client.name == "native":
        body["messages"].pop()
        for message in body["messages"]:
            if isinstance(message["content"], list):
                message["content"] = message["content"][0]["text"]
    if client.name == "openai":
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    if client.name == "anthropic":
        body["tools"] = [{"name": "f", "input_schema": schema}]
    return {**body, "stream": stream}


def answer_with(wire: Wire) -> Any:
    async def answer(request: Request, c: Connection) -> None:
        streamed = request.json.get("stream", "streamGenerateContent" in request.path)
        if not streamed:
            await c.respond(json.dumps(wire.whole("Hi")))
            return
        await c.stream(wire.content_type)
        await c.chunk(wire.head + wire.delta("Hi") + wire.end)
        await c.end()

    return answer


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda one: one.name)
@pytest.mark.parametrize("wire", WIRES.values(), ids=lambda one: one.engine)
async def test_br_04_a_heavy_request_is_the_same_request(
    wire: Wire, client: ClientWire, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent as a heavy one, then as a light one."""
    async with (
        Upstream(answer_with(wire)).run() as upstream,
        run_server(make_config(**wire.environ(upstream))) as server,
    ):
        texts = []
        for light in (False, True):
            if light:
                monkeypatch.setattr(request_body, "LIGHT_SIZE", 1 << 30)
            answer = await server.post(client.path, conversation(client, wire, MANY, stream), client.headers)
            raw = await answer.body()
            assert answer.status == 200, raw[:500]
            assert b"Hi" in raw
            texts.append(answer.headers.get("X-Dropped-Fields"))
    heavy, plain = upstream.requests
    assert heavy.json == plain.json and heavy.path == plain.path and texts[0] == texts[1]
    assert heavy.headers["Content-Type"] == plain.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "heavy"),
    [
        (json.dumps({"messages": [{"role": "user", "content": "x"}] * 1600}), True),
        (json.dumps({"messages": [{"role": "user", "content": "x"}] * 1000}), False),
        (json.dumps({"x": [{"$ref": "#/$defs/a"}] * 300}), True),
        (json.dumps({"x": [{"$ref": "#/$defs/a"}] * 15, "text": "x" * 5000}), False),
        (json.dumps({"url": "data:image/png;base64," + "A" * 1_000_000}), False),
    ],
)
def test_what_is_heavy(body: str, heavy: bool) -> None:
    half = len(body) // 2
    assert limits.is_heavy([body[:half].encode(), body[half:].encode()]) is heavy


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda one: one.name)
async def test_br_04_the_work_on_a_heavy_request_is_done_in_a_thread(
    client: ClientWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser, the schema check, the dialect's reader and the encoder."""
    names: list[str] = []
    submit = threads.submit

    def record(function: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(function.__name__)
        return submit(function, *args, **kwargs)

    monkeypatch.setattr(threads, "submit", record)
    wire = WIRES["anthropic"]
    async with (
        Upstream(answer_with(wire)).run() as upstream,
        run_server(make_config(**wire.environ(upstream))) as server,
    ):
        answer = await server.post(client.path, conversation(client, wire, MANY, True), client.headers)
        await answer.body()
    assert names[:3] == ["parse_body", "check", "read_request"]
    assert {"_prepare", "PassthroughRound"} & {*names}


async def test_a_heavy_request_whose_client_leaves_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, client = WIRES["openai"], CLIENTS["openai"]
    async with (
        Upstream(answer_with(wire)).run() as upstream,
        run_server(make_config(**wire.environ(upstream))) as server,
    ):
        for _ in range(3):
            answer = await server.send("POST", client.path, conversation(client, wire, MANY, True), client.headers)
            answer.close()
        answer = await server.post(client.path, client.request(wire.engine), client.headers)
        assert answer.status == 200 and b"Hi" in await answer.body()
        assert len(upstream.requests) <= 4


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("wire", WIRES.values(), ids=lambda one: one.engine)
async def test_br_05_one_copy_of_a_large_body_is_kept_while_the_engine_works(wire: Wire, stream: bool) -> None:
    """Beside the copy that the engine of this test keeps. An engine with two APIs may need the request again."""
    size, go, waiting = 8_000_000, asyncio.Event(), asyncio.Event()

    async def script(request: Request, c: Connection) -> None:
        waiting.set()
        await go.wait()
        await answer_with(wire)(request, c)

    client = CLIENTS["anthropic"]
    copies = 3 if wire.engine == "openai" else 2
    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        body = client.request(wire.engine, stream=stream)
        body["messages"] = [{"role": "user", "content": "x" * size}]
        raw = json.dumps(body).encode()
        del body
        tracemalloc.start()
        try:
            reply = await server.send("POST", client.path, raw, client.headers)
            await waiting.wait()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        go.set()
        await reply.head()
        assert reply.status == 200
        await reply.body()
    assert held < (copies + 0.5) * size


async def test_br_05_nothing_of_a_large_body_is_kept_after_an_error() -> None:
    """Also without the garbage collector: the stack frames of an error hold the request."""
    size = 8_000_000
    wire, client = WIRES["anthropic"], CLIENTS["openai"]
    url = {"url": "data:image/png;base64," + "A" * size}  # larger than what this engine takes
    async with (
        Upstream(answer_with(wire)).run() as upstream,
        run_server(make_config(**wire.environ(upstream))) as server,
    ):
        body = client.request(wire.engine)
        body["messages"] = [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]
        raw = json.dumps(body).encode()
        del body, url
        tracemalloc.start()
        gc.disable()
        try:
            reply = await server.post(client.path, raw, client.headers)
            assert reply.status == 400 or reply.status == 413
            await reply.body()
            await wait_until(lambda: tracemalloc.get_traced_memory()[0] < size)
        finally:
            gc.enable()
            tracemalloc.stop()
