"""Every row of README's table of client set-ups, used unchanged against a running server.

Tests that need the client itself are in ``tests/clients``; here a request as in its row is answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from typing import Any

import pytest
from anthropic import Anthropic
from ollama import Client as Ollama
from openai import OpenAI

from llm.engines.records import ENGINES
from tests.support.client_requests import CLAUDE_CODE, CODEX, GEMINI_CLI, OPEN_WEBUI
from tests.support.harness import CLIENT_ID, Client, make_config, run_server
from tests.support.setups import README_URL, SETUPS, parse_codex_config, read_code, read_environ, read_gemini_environ

HELLO: Any = [{"role": "user", "content": "Hello"}]


def test_every_client_that_is_promised_has_a_row() -> None:
    packages = {f"the `{name}` package" for name in ("openai", "anthropic", "google-genai", "ollama")}
    assert set(SETUPS) == {"Claude Code", "Codex", "Gemini CLI", "Open WebUI", "LangChain", "`curl`", *packages}
    named = re.findall(r"[=\" ](\w+)/[\w.-]+", " ".join(SETUPS.values()))
    assert {name for name in named if name not in ("v1", "chat")} <= set(ENGINES)


async def answered(server: Client, path: str, body: dict[str, Any], **headers: str) -> str:
    answer = await server.post(path, body, headers)
    raw = (await answer.body()).decode()
    assert answer.status == 200, raw
    return raw


async def test_claude_code_s_row() -> None:
    async with run_server(make_config()) as server:
        environ = read_environ("Claude Code", server.url)
        models = [value for name, value in environ.items() if name.endswith("_MODEL")]
        assert len(models) == 2 and environ["ANTHROPIC_BASE_URL"] == server.url
        bearer = f"Bearer {environ['ANTHROPIC_AUTH_TOKEN']}"
        body = {**CLAUDE_CODE, "model": "demo/demo-chat"}
        assert "message_stop" in await answered(server, "/v1/messages?beta=true", body, Authorization=bearer)


async def test_codex_s_row() -> None:
    async with run_server(make_config()) as server:
        settings = parse_codex_config(server.url, "demo/demo-chat")
        provider = settings["model_providers"][settings["model_provider"]]
        assert provider["wire_api"] == "responses" and provider["name"]
        assert provider["base_url"] == f"{server.url}/v1"
        bearer = f"Bearer {({'CLIENT_ID': CLIENT_ID})[provider['env_key']]}"
        body = {**CODEX, "model": settings["model"]}
        assert "response.completed" in await answered(server, "/v1/responses", body, Authorization=bearer)


async def test_gemini_cli_s_row() -> None:
    async with run_server(make_config()) as server:
        environ = read_gemini_environ(server.url)
        assert environ["GOOGLE_GEMINI_BASE_URL"] == server.url
        assert (
            json.loads(read_code("Gemini CLI", server.url)[1])["security"]["auth"]["selectedType"] == "gemini-api-key"
        )
        path = "/v1beta/models/demo/demo-chat:streamGenerateContent?alt=sse"
        headers = {"x-goog-api-key": environ["GEMINI_API_KEY"]}
        assert '"finishReason":"STOP"' in await answered(server, path, GEMINI_CLI, **headers)


async def test_open_webui_s_row() -> None:
    async with run_server(make_config()) as server:
        environ = read_environ("Open WebUI", server.url)
        assert environ["OPENAI_API_BASE_URL"] == f"{server.url}/v1"
        bearer = {"Authorization": f"Bearer {environ['OPENAI_API_KEY']}"}
        listed = await (await server.get("/v1/models", bearer)).json()
        body = {**OPEN_WEBUI, "model": listed["data"][0]["id"]}
        assert "[DONE]" in await answered(server, "/v1/chat/completions", body, **bearer)


async def test_langchain_s_row() -> None:
    async with run_server(make_config()) as server:
        [code] = read_code("LangChain", server.url)
        given: dict[str, str] = eval(code, {"ChatOpenAI": dict, "client_id": CLIENT_ID})
        assert set(given) == {"base_url", "api_key", "model"} and given["base_url"] == f"{server.url}/v1"
        bearer = f"Bearer {given['api_key']}"
        body = {"model": "demo/demo-chat", "messages": HELLO}
        assert "Hello" in await answered(server, "/v1/chat/completions", body, Authorization=bearer)


async def test_the_rows_of_the_packages() -> None:
    async with run_server(make_config()) as server:

        def said() -> list[Any]:
            from google import genai  # its import takes a second

            names = {"OpenAI": OpenAI, "Anthropic": Anthropic, "Client": Ollama, "client_id": CLIENT_ID, "genai": genai}
            openai, anthropic, google, ollama = (
                eval(read_code(f"the `{package}` package", server.url)[0], names)
                for package in ("openai", "anthropic", "google-genai", "ollama")
            )
            model = "demo/demo-chat"
            with openai, anthropic, google, ollama._client:
                return [
                    openai.chat.completions.create(model=model, messages=HELLO).choices[0].message.content,
                    anthropic.messages.create(model=model, messages=HELLO, max_tokens=100).content[0].text,
                    google.models.generate_content(model=model, contents="Hello").text,
                    ollama.chat(model=model, messages=HELLO).message.content,
                ]

        answers = await asyncio.to_thread(said)
    assert len(answers) == 4 and all("You said: Hello" in answer for answer in answers)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_s_row() -> None:
    async with run_server(make_config()) as server:
        [command] = read_code("`curl`", server.url)
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            env={**os.environ, "CLIENT_ID": CLIENT_ID, "no_proxy": "*"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(20):
            told, _ = await process.communicate()
    assert process.returncode == 0 and "You said: Hello" in told.decode()
    assert README_URL not in command
