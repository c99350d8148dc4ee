"""``stream_options``, which this server adds to learn the usage, is taken back from an engine that refuses it."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, UsageRefused
from llm.upstream.retry import EngineMemory
from tests.support.harness import CLIENT, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES

WIRE: Final = WIRES["openai"]
REFUSALS: Final[dict[str, tuple[int, Any]]] = {
    "openai": (400, {"error": {"message": "Unrecognized request argument supplied: stream_options", "param": None}}),
    "param": (400, {"error": {"message": "Unknown parameter.", "param": "stream_options.include_usage"}}),
    "fastapi": (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]}),
    "vllm": (400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options')}]"}),
    "text": (400, "unknown field `stream_options` at line 1"),
}


class OldServer:
    """Refuses requests with ``stream_options``."""

    def __init__(self, refusal: str = "openai") -> None:
        self.refusal = refusal

    async def __call__(self, request: Request, connection: Connection) -> None:
        if "stream_options" in request.json:
            status, body = REFUSALS[self.refusal]
            kind = "text/plain" if isinstance(body, str) else "application/json"
            await connection.respond(body, status, kind)
        elif request.json.get("stream"):
            await connection.stream(WIRE.content_type)
            await connection.chunk(WIRE.head + WIRE.delta("Hello") + WIRE.end)
            await connection.end()
        else:
            await connection.respond(WIRE.whole("Hello"))


def options_of(upstream: Upstream) -> list[Any]:
    sent = [request.json.get("stream_options") for request in upstream.requests]
    upstream.requests.clear()
    return sent


async def ask(server: Client, name: str, **more: Any) -> bytes:
    client = CLIENTS[name]
    body = {**client.request("openai"), "stream": True}
    body.pop("stream_options", None)
    body |= more
    answer = await server.post(client.path, body, {**CLIENT, **client.headers})
    text = await answer.body()
    assert answer.status == 200, text
    return text


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", CLIENTS)
async def test_gw_24_the_option_is_taken_back_once_and_not_sent_again(name: str, refusal: str) -> None:
    async with Upstream(OldServer(refusal)).run() as upstream:
        async with run_server(make_config(**WIRE.environ(upstream))) as server:
            assert b"Hello" in await ask(server, name)
            assert options_of(upstream) == [{"include_usage": True}, None]
            for again in CLIENTS:
                assert b"Hello" in await ask(server, again)
                assert options_of(upstream) == [None]


async def test_gw_24_a_client_s_own_option_is_the_client_s() -> None:
    async with Upstream(OldServer()).run() as upstream, run_server(make_config(**WIRE.environ(upstream))) as server:
        own = {**CLIENTS["openai"].request("openai"), "stream": True, "stream_options": {"include_usage": True}}
        answer = await server.post("/v1/chat/completions", own)
        assert answer.status == 400
        assert "stream_options" in (await answer.json())["error"]["message"]
        assert len(options_of(upstream)) == 1
        assert b"Hello" in await ask(server, "openai")  # nothing was learned from it
        assert options_of(upstream) == [{"include_usage": True}, None]


async def test_gw_24_other_stream_options_stay() -> None:
    async def script(request: Request, connection: Connection) -> None:
        if "include_usage" in request.json.get("stream_options", {}):
            await connection.respond({"error": {"message": "stream_options.include_usage: unknown"}}, 400)
        else:
            await OldServer()(Request("POST", "", request.headers, json.dumps({"stream": True}).encode()), connection)

    async with Upstream(script).run() as upstream, run_server(make_config(**WIRE.environ(upstream))) as server:
        await ask(server, "openai", stream_options={"include_obfuscation": False})
        assert options_of(upstream)[-1] == {"include_obfuscation": False}


async def test_gw_24_a_large_request_is_sent_again_too() -> None:
    async with Upstream(OldServer()).run() as upstream, run_server(make_config(**WIRE.environ(upstream))) as server:
        long = [{"role": "user", "content": "x" * 3_000_000}]
        for name in ("openai", "anthropic"):
            upstream.requests.clear()
            server.server.context.client.memory.__init__()  # type: ignore[misc]
            await ask(server, name, messages=long)
            assert [len(request.body) > 3_000_000 for request in upstream.requests] == [True, True]
            assert options_of(upstream) == [{"include_usage": True}, None]


async def test_gw_24_the_answer_s_usage_is_known_all_the_same() -> None:
    async with Upstream(OldServer()).run() as upstream, run_server(make_config(**WIRE.environ(upstream))) as server:
        objects = await server.chat(engine="openai", model="m")
    assert objects[-1]["usage"]


async def test_an_engine_that_refuses_even_so_is_asked_twice_only() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "stream_options, always"}}, 400)

    async with Upstream(script).run() as upstream, run_server(make_config(**WIRE.environ(upstream))) as server:
        answer = await server.post("/llm/chat", CLIENTS["native"].request("openai"))
        assert answer.status == 400
    assert len(upstream.requests) == 2


def test_what_was_learned_is_kept_for_a_day_and_for_that_engine() -> None:
    now = 100.0
    memory = EngineMemory(lambda: now)
    target, other = (Target(engine=ENGINES[name], model="m") for name in ("openai", "groq"))
    assert memory.learn(InvalidRequest("no"), target) is None
    assert memory.adapt(target) is target
    adapted = memory.learn(UsageRefused("no"), target)
    assert adapted is not None and not adapted.engine.quirks.accepts_include_usage
    assert memory.adapt(target) == adapted
    assert memory.learn(UsageRefused("no"), adapted) is None
    assert memory.adapt(other) is other
    now += 86401
    assert memory.adapt(target) is target
