"""``OWN_KEYS``: a made-up key opens no engine that may not look at keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.config.own_keys import is_private
from llm.config.parsers import ConfigError
from llm.config.settings import Config
from tests.support.harness import CLIENT, CLIENT_ID, Connection, Request, Upstream, run_server
from tests.support.wires import CLIENTS, WIRES, ClientWire, Wire


def config(upstream: Upstream, wire: Wire, **more: str) -> Config:
    return Config.from_env({"AUTHORIZED_CLIENT_ID": CLIENT_ID, **wire.environ(upstream), **more})


def custom(upstream: Upstream, **more: str) -> Config:
    environ = {"CUSTOM_ENGINES": "vllm", "VLLM_BASE_URL": f"{upstream.url}/v1", "VLLM_API_KEY": "EMPTY"}
    return Config.from_env({"AUTHORIZED_CLIENT_ID": CLIENT_ID, **environ, **more})


async def answer(request: Request, c: Connection) -> None:
    await c.respond(json.dumps(WIRES["openai"].whole("Hi")))


def whole(client: ClientWire, engine: str) -> dict[str, Any]:
    body = client.request(engine, "m", stream=False)
    body.pop("stream_options", None)
    return body


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda one: one.name)
@pytest.mark.parametrize("place", ["header", "body"])
async def test_br_08_a_made_up_key_does_not_open_a_custom_engine(client: ClientWire, place: str) -> None:
    headers = {"X-Vllm-Key": "made-up"} if place == "header" else {}
    more = {} if place == "header" else {"vllmKey": "made-up"}
    async with Upstream(answer).run() as upstream, run_server(custom(upstream)) as server:
        reply = await server.post(client.path, {**whole(client, "vllm"), **more}, headers)
        assert reply.status == 401, await reply.body()
        thread = await server.request("PUT", "/thread", more, headers)
        assert thread.status == 401
        assert not upstream.requests
        reply = await server.post(client.path, whole(client, "vllm"), client.headers)
        assert reply.status == 200


@pytest.mark.parametrize("engine", ["openai", "anthropic", "google"])
async def test_br_08_nor_a_private_engine_that_the_server_has_a_key_for(engine: str) -> None:
    wire = WIRES[engine]
    async with Upstream(answer).run() as upstream, run_server(config(upstream, wire)) as server:
        reply = await server.post(
            "/v1/chat/completions", whole(CLIENTS["openai"], engine), {f"X-{engine.title()}-Key": "made-up"}
        )
        assert reply.status == 401 and not upstream.requests


@pytest.mark.parametrize("value", ["true", "vllm", "openai, vllm"])
async def test_the_owner_opens_it(value: str) -> None:
    async with Upstream(answer).run() as upstream, run_server(custom(upstream, OWN_KEYS=value)) as server:
        body = whole(CLIENTS["openai"], "vllm")
        reply = await server.post("/v1/chat/completions", body, {"X-Vllm-Key": "their-own"})
        assert reply.status == 200
        assert upstream.requests[0].headers["Authorization"] == "Bearer their-own"


@pytest.mark.parametrize("value", ["false", "openai"])
async def test_own_keys_are_turned_off(value: str) -> None:
    """A caller with a client id gets a sentence, since the server's key would pay otherwise."""
    async with Upstream(answer).run() as upstream, run_server(custom(upstream, OWN_KEYS=value)) as server:
        body = whole(CLIENTS["openai"], "vllm")
        assert (await server.post("/v1/chat/completions", body, {"X-Vllm-Key": "their-own"})).status == 401
        reply = await server.post("/v1/chat/completions", body, {**CLIENT, "X-Vllm-Key": "their-own"})
        assert reply.status == 400 and b"(OWN_KEYS)" in await reply.body()
        assert not upstream.requests
        assert (await server.post("/v1/chat/completions", body, CLIENT)).status == 200


async def test_a_caller_with_a_client_id_may_use_an_own_key() -> None:
    async with Upstream(answer).run() as upstream, run_server(custom(upstream)) as server:
        headers = {**CLIENT, "X-Vllm-Key": "their-own"}
        assert (await server.post("/v1/chat/completions", whole(CLIENTS["openai"], "vllm"), headers)).status == 200
        assert upstream.requests[0].headers["Authorization"] == "Bearer their-own"


@pytest.mark.parametrize(
    ("environ", "taken"),
    [
        ({}, {"openai", "anthropic"}),
        ({"OPENAI_API_KEY": "sk-1234567"}, {"openai", "anthropic"}),
        ({"OPENAI_API_KEY": "sk-1234567", "OPENAI_BASE_URL": "http://10.0.0.1/v1"}, {"anthropic"}),
        ({"OPENAI_BASE_URL": "http://10.0.0.1/v1"}, {"openai", "anthropic"}),
        ({"OWN_KEYS": "openai"}, {"openai"}),
        ({"OWN_KEYS": "FALSE"}, set()),
    ],
)
def test_which_engines_take_own_keys(environ: dict[str, str], taken: set[str]) -> None:
    assert Config.from_env(environ).own_keys & {"openai", "anthropic"} == taken


def test_an_unknown_engine_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="OWN_KEYS: 'opennai' is neither"):
        Config.from_env({"OWN_KEYS": "opennai"})


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1:8000/v1", True), ("http://[::1]/", True), ("http://192.168.1.7/", True), ("http://vllm/v1", True),
        ("http://localhost:1/", True), ("http://box.local/", True), ("http://gpu.internal./", True), ("http://[fd00::1]/", True),
        ("https://api.openai.com/v1", False), ("https://8.8.8.8/", False), ("", False),
    ],
)  # fmt: skip
def test_what_is_private(url: str, private: bool) -> None:
    assert is_private(url) is private
