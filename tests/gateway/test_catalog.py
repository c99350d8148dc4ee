"""Model lists: cached, renewed in the background, not delayed by a failed engine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm.errors import EngineNotConfigured, LLMError, UnknownModel
from llm.gateway import model_lists
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.gateway.model_lists import FAILURE_AGE, LIST_AGE, LIST_TIMEOUT
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.paths import ROOT
from tests.support.wire_server import wait_until
from tests.support.wires import WIRES

OWNER = Caller(trusted=True)


def models(*ids: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": id, "object": "model", "created": 1} for id in ids]}


async def test_o10_an_old_list_is_returned_while_it_is_renewed() -> None:
    go = asyncio.Event()
    now = 0.0

    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) > 1:
            await go.wait()
        await connection.respond(models(f"m{len(upstream.requests)}"))

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream))) as server:
            catalog = Catalog(server.server.context.config, server.server.context.client, clock=lambda: now)
            assert [m.id for m in await catalog.list_models("openai", OWNER)] == ["m1"]
            now = LIST_AGE - 1
            assert [m.id for m in await catalog.list_models("openai", OWNER)] == ["m1"]
            assert len(upstream.requests) == 1
            now = LIST_AGE + 1
            assert [m.id for m in await catalog.list_models("openai", OWNER)] == [
                "m1"
            ]  # returned at once, while the provider does not answer
            assert [m.id for m in await catalog.list_models("openai", OWNER)] == ["m1"]
            go.set()
            async with asyncio.timeout(5):
                while [m.id for m in await catalog.list_models("openai", OWNER)] != ["m2"]:
                    await asyncio.sleep(0.01)
            assert len(upstream.requests) == 2
            catalog.close()


async def test_o10_a_failed_engine_gets_no_requests_for_a_while() -> None:
    now = 0.0

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "No."}}, 500)

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream), DEMO_ENABLED="true")) as server:
            catalog = Catalog(server.server.context.config, server.server.context.client, clock=lambda: now)
            for _ in range(3):
                found, failures = await catalog.list_all_models(OWNER)
                assert {m.engine for m in found} == {"demo"}
                assert list(failures) == ["openai"]
            assert len(upstream.requests) == 1
            now = FAILURE_AGE + 1
            await catalog.list_all_models(OWNER)
            await wait_until(lambda: len(upstream.requests) == 2 and not renewing(catalog))
            with pytest.raises(LLMError):
                await catalog.list_models("openai", OWNER)  # the list of this engine alone is requested again
            assert len(upstream.requests) == 3
            catalog.close()


def renewing(catalog: Catalog) -> bool:
    return any(task.get_name() == "renewal" for task in asyncio.all_tasks())


@pytest.mark.parametrize("engine", [*WIRES])
async def test_su_05_a_hanging_engine_delays_no_list(engine: str) -> None:
    """From the first request on, at each renewal, and after it has answered once."""
    now, answers = 0.0, False

    async def script(request: Request, connection: Connection) -> None:
        if not answers:
            await connection.wait_closed()
        await connection.respond(models("m1") if engine != "ollama" else {"models": [{"name": "m1", "model": "m1"}]})

    async with Upstream(script).run() as upstream:
        config = make_config(**WIRES[engine].environ(upstream), DEMO_ENABLED="true")
        async with run_server(config) as server:
            catalog = Catalog(config, server.server.context.client, clock=lambda: now)
            for later in (0.0, 10.0, 31.0, 62.0, 400.0):
                now = later
                task = asyncio.create_task(catalog.list_all_models(OWNER))
                async with asyncio.timeout(LIST_TIMEOUT / 2):  # far below what the engine is given
                    found, failures = await task
                assert {m.engine for m in found} == {"demo"} and list(failures) == [engine]
                assert failures[engine].code in ("idle_timeout", "upstream_timeout"), failures[engine].code
            catalog.close()


async def test_su_05_a_list_that_is_known_is_listed_while_its_engine_hangs() -> None:
    now = 0.0

    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) > 1:
            await connection.wait_closed()
        await connection.respond(models("m1"))

    async with Upstream(script).run() as upstream:
        config = make_config(**WIRES["openai"].environ(upstream))
        async with run_server(config) as server:
            catalog = Catalog(config, server.server.context.client, clock=lambda: now)
            for later in (0.0, LIST_AGE + 1, 2 * LIST_AGE, 3 * LIST_AGE):
                now = later
                found, failures = await catalog.list_all_models(OWNER)
                assert [m.id for m in found] == ["m1"] and not failures
            await wait_until(lambda: len(upstream.requests) == 2)
            catalog.close()


async def test_the_first_list_of_all_waits_for_an_engine() -> None:
    """Nothing is known yet: an empty list would be useless."""
    go = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await go.wait()
        await connection.respond(models("m1"))

    async with Upstream(script).run() as upstream:
        config = make_config(**WIRES["openai"].environ(upstream))
        async with run_server(config) as server:
            catalog = Catalog(config, server.server.context.client)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model_lists, "KNOWN_WAIT", 0)
                task = asyncio.create_task(catalog.list_all_models(OWNER))
                await wait_until(lambda: upstream.requests)
                go.set()
                found, failures = await task
            assert [m.id for m in found] == ["m1"] and not failures
            catalog.close()


async def test_a_list_for_a_caller_s_own_key_is_not_cached() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(models(request.headers["Authorization"].removeprefix("Bearer ")[::-1]))

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["openai"].environ(upstream, OPENAI_API_KEY="server-key"))) as server:
            for key in ("own-key-1", "own-key-2"):
                answer = await (await server.get("/llm/models/openai", {"X-OpenAI-Key": key})).json()
                assert [m["id"] for m in answer["models"]["chat"]] == [key[::-1]]
            answer = await (await server.get("/llm/models/openai", CLIENT)).json()
            assert [m["id"] for m in answer["models"]["chat"]] == ["server-key"[::-1]]


async def test_models_are_listed_in_the_client_s_dialect() -> None:
    async with run_server(make_config()) as server:
        openai = await (await server.get("/v1/models")).json()
        anthropic = await (await server.get("/v1/models", {**CLIENT, "anthropic-version": "2023-06-01"})).json()
    assert openai["object"] == "list" and openai["data"][0]["object"] == "model"
    assert {m["id"] for m in openai["data"]} == {m["id"] for m in anthropic["data"]} >= {"demo/demo-chat"}
    assert anthropic["has_more"] is False and anthropic["data"][0]["type"] == "model"


async def test_one_model_is_returned_as_in_the_list_or_404() -> None:
    async with run_server(make_config()) as server:
        for headers in (CLIENT, {**CLIENT, "anthropic-version": "2023-06-01"}):
            listed = await (await server.get("/v1/models", headers)).json()
            for path in ("/v1/models/demo/demo-chat", "/v1/models/demo%2Fdemo-chat"):
                answer = await server.get(path, headers)
                assert answer.status == 200
                assert await answer.json() in listed["data"]
            for name in ("demo/nothing", "demo", "openai/gpt-5.4", "nobody/m"):
                missing = await server.get(f"/v1/models/{name}", headers)
                assert missing.status == 404
                error = (await missing.json())["error"]
                assert "model_not_found" in (error.get("code"), error.get("details", {}).get("error_code"))
        assert (await server.get("/v1/models/demo/demo-chat", {})).status == 401


def test_a_model_name_is_resolved_or_refused_with_a_reason() -> None:
    catalog = Catalog(make_config(OPENAI_API_KEY="sk-12345678"), client=None)  # type: ignore[arg-type]
    assert catalog.resolve_model_name("openai/a/b", OWNER).model == "a/b"
    for name in ("gpt-4o", "openai/", "/x", ""):
        with pytest.raises((UnknownModel, EngineNotConfigured)):
            catalog.resolve_model_name(name, OWNER)
    with pytest.raises(EngineNotConfigured, match="no engine 'aws_secret'"):
        catalog.resolve_target("aws_secret", "m", OWNER)


async def test_check_reports_for_each_engine_whether_it_answers(tmp_path: Path) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.headers.get("Authorization") == "Bearer gsk-good-key":
            await connection.respond(models("a", "b"))
        else:
            await connection.respond({"error": {"message": "Bad key sk-bad-key-1.", "code": "invalid_api_key"}}, 401)

    async with Upstream(script).run() as upstream:
        environ = {"GROQ_API_KEY": "gsk-good-key", "GROQ_BASE_URL": upstream.url, "PATH": os.environ["PATH"]}

        async def check(**more: str) -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(ROOT / "server.py"), "--check",
                cwd=tmp_path, env={**environ, **more}, stdout=subprocess.PIPE,
            )  # fmt: skip
            output, _ = await process.communicate()
            return process.returncode or 0, output.decode()

        assert await check() == (0, "groq: ok, 2 models\n")
        code, output = await check(
            OPENAI_API_KEY="sk-bad-key-1", OPENAI_BASE_URL=upstream.url, AZURE_API_KEY="azure-key"
        )
    assert code == 1
    assert "openai: provider_auth: OpenAI refused this server's key, OPENAI_API_KEY: Bad key ***." in output
    assert "azure: has a key but cannot be used" in output
    assert json.dumps(output).count("sk-bad-key-1") == 0
