"""The real Claude Code and Codex, set up as README says, over engines of every wire. Skipped where they are missing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.judging import STRUCTURED, Left, behind, ran, refusing, running
from tests.support.harness import Connection, Request
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script, make_text_script
from tests.support.setups import read_codex_config, read_environ
from tests.support.wires import WIRES, Wire

BIN = Path(__file__).parent / "node" / "node_modules" / ".bin"
CLAUDE, CODEX = BIN / "claude", BIN / "codex"
ALL_WIRES = {**WIRES, "openai": CHAT}
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
pytestmark = pytest.mark.skipif(
    not (CLAUDE.exists() and CODEX.exists()),
    reason="the packages of Node are not installed: run `make test-clients` where npm is",
)


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


# --- Claude Code ---


def claude(url: str, model: str) -> dict[str, str]:
    """README's variables; the others keep it from calling home."""
    environ = read_environ("Claude Code", url)
    environ |= {name: model for name in environ if name.endswith("_MODEL")}
    return {**environ, "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


async def claude_says(*words: str, home: Path, **environ: str) -> tuple[int, Any]:
    code, said = await ran(str(CLAUDE), "-p", *words, "--output-format", "json", home=home, **environ)
    lines = [line for line in said.splitlines() if line.startswith('{"') and '"result"' in line]
    assert lines, said
    return code, json.loads(lines[0])


@EVERY
async def test_claude_code_runs_a_command_and_answers(wire: Wire, tmp_path: Path) -> None:
    script = make_call_script(wire, "Bash", {"command": "echo Sunny", "description": "Says it"})
    async with behind(wire, script) as (url, upstream):
        environ = claude(url, model_of(wire))
        code, said = await claude_says("Say hello", "--allowedTools", "Bash", home=tmp_path, **environ)
    assert (code, said["result"], said["is_error"]) == (0, ANSWER_TEXT, False)
    assert (said["usage"]["input_tokens"], said["usage"]["output_tokens"]) == (10, 4)  # of both rounds
    last = json.dumps(upstream.requests[-1].json)
    assert "Say hello" in last and "Sunny" in last


async def search_script(request: Request, connection: Connection) -> None:
    """Answers as Gemini: a call of the client's tool, then the search that this tool asks for, then a text."""
    body, text = request.json, request.body.decode()
    if any("googleSearch" in tool for tool in body.get("tools", ())):
        part: dict[str, Any] = {"text": "It is 4.0."}
        grounding = {
            "webSearchQueries": ["newest Ruby"],
            "groundingChunks": [{"web": {"uri": "https://a.example", "title": "Downloads"}}],
            "groundingSupports": [{"segment": {"endIndex": 5}, "groundingChunkIndices": [0]}],
        }
    else:
        part = {"text": ANSWER_TEXT}
        if "a.example" not in text:
            part = {"functionCall": {"name": "WebSearch", "args": {"query": "newest Ruby"}, "id": "c1"}}
        grounding = {}
    content = {"role": "model", "parts": [part]}
    candidate = {"index": 0, "content": content, "finishReason": "STOP", "groundingMetadata": grounding}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    answer = {"responseId": "r", "modelVersion": "g", "candidates": [candidate], "usageMetadata": usage}
    if "stream" not in request.path:
        await connection.respond(answer)
        return
    await connection.stream("text/event-stream")
    await connection.chunk(f"data: {json.dumps(answer)}\n\n".encode())
    await connection.end()


async def test_gw_09_claude_code_searches_the_web_over_another_engine(tmp_path: Path) -> None:
    async with behind(WIRES["google"], search_script) as (url, upstream):
        environ = claude(url, "google/gemini-3.5-flash")
        code, said = await claude_says("What is new?", "--allowedTools", "WebSearch", home=tmp_path, **environ)
    assert (code, said["result"], said["is_error"]) == (0, ANSWER_TEXT, False)
    last = json.dumps(upstream.requests[-1].json)
    assert "https://a.example" in last and "Downloads" in last and "It is 4.0." in last


async def test_claude_code_answers_by_a_schema(tmp_path: Path) -> None:
    wire = WIRES["google"]
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
        "required": ["city", "degrees"],
    }
    script = make_call_script(wire, "StructuredOutput", json.loads(STRUCTURED), result="successfully")
    async with behind(wire, script) as (url, _):
        words = ("Weather?", "--json-schema", json.dumps(schema))
        code, said = await claude_says(*words, home=tmp_path, **claude(url, "google/m"))
    assert (code, said["structured_output"]) == (0, json.loads(STRUCTURED))


async def test_claude_code_counts_its_context(tmp_path: Path) -> None:
    wire = WIRES["google"]
    async with behind(wire, make_text_script(wire, whole={"totalTokens": 4700})) as (url, upstream):
        code, said = await claude_says("/context", home=tmp_path, **claude(url, "google/m"))
    assert (code, said["is_error"]) == (0, False)
    assert "4.7k" in said["result"]
    assert {request.path for request in upstream.requests} == {"/v1beta/models/m:countTokens"}


@pytest.mark.parametrize("status", [400, 404])
async def test_claude_code_tells_an_error(status: int, tmp_path: Path) -> None:
    wire = WIRES["google"]
    async with behind(wire, refusing(wire, status)) as (url, _):
        code, said = await claude_says("Hello", home=tmp_path, **claude(url, "google/m"))
    assert (code, said["is_error"], said["api_error_status"]) == (1, True, status)


async def test_c1_claude_code_that_is_stopped_stops_the_provider(tmp_path: Path) -> None:
    wire = WIRES["google"]
    left = Left(wire)
    async with behind(wire, left.script) as (url, _):
        environ = claude(url, "google/m")
        words = ("-p", "Hello", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
        async with running(str(CLAUDE), *words, home=tmp_path, **environ) as process:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                while b'"text_delta"' not in await process.stdout.readline():
                    pass
            process.kill()
            await left.seen()


# --- Codex ---


def codex(url: str, model: str, home: Path) -> None:
    """Writes README's configuration, with what keeps it from calling home."""
    quiet = "check_for_update_on_startup = false\n"
    (home / ".codex").mkdir(exist_ok=True)
    (home / ".codex" / "config.toml").write_text(
        quiet + read_codex_config(url, model) + "[analytics]\nenabled = false\n"
    )


EXEC = (str(CODEX), "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access")


@EVERY
async def test_codex_runs_a_command_and_answers(wire: Wire, tmp_path: Path) -> None:
    async with behind(wire, make_call_script(wire, "exec_command", {"cmd": "echo Sunny"})) as (url, upstream):
        codex(url, model_of(wire), tmp_path)
        code, said = await ran(*EXEC, "Say hello", home=tmp_path)
    assert (code, said.strip()) == (0, ANSWER_TEXT)
    last = json.dumps(upstream.requests[-1].json)
    assert "Say hello" in last and "Sunny" in last


@EVERY
async def test_codex_prepares_and_continues_over_a_websocket(wire: Wire, tmp_path: Path) -> None:
    """It sends its conversation once, with ``generate: false``, and from then on what is new."""
    async with behind(wire, make_call_script(wire, "exec_command", {"cmd": "echo Sunny"})) as (url, upstream):
        codex(url, model_of(wire), tmp_path)
        config = tmp_path / ".codex" / "config.toml"
        provider = "[model_providers.here]\n"
        config.write_text(config.read_text().replace(provider, f"{provider}supports_websockets = true\n"))
        code, said = await ran(*EXEC, "Say hello", home=tmp_path)
    assert (code, said.strip()) == (0, ANSWER_TEXT)
    answered = [
        request for request in upstream.requests if request.path != "/v1/responses" or wire.engine == "responses"
    ]
    assert len(answered) == 2
    last = json.dumps(answered[-1].json)
    assert "Say hello" in last and "Sunny" in last


async def test_codex_searches_the_web_over_another_engine(tmp_path: Path) -> None:
    async with behind(WIRES["google"], search_script) as (url, upstream):
        codex(url, "google/gemini-3.5-flash", tmp_path)
        config = tmp_path / ".codex" / "config.toml"
        config.write_text('web_search = "live"\n' + config.read_text())
        code, said = await ran(*EXEC, "What is new?", home=tmp_path)
    assert (code, said.strip()) == (0, "It is 4.0.")
    [asked] = upstream.requests
    assert {"googleSearch": {}} in asked.json["tools"] and len(asked.json["tools"]) == 2  # beside its functions


async def test_codex_calls_a_function_of_a_namespace_over_a_foreign_wire(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    script = make_call_script(wire, "multi_agent_v1__close_agent", {"target": "nobody"}, result="invalid agent id")
    async with behind(wire, script) as (url, _):
        codex(url, model_of(wire), tmp_path)
        code, said = await ran(*EXEC, "Say hello", home=tmp_path)
    assert (code, said.strip()) == (0, ANSWER_TEXT)


async def test_codex_answers_by_a_schema(tmp_path: Path) -> None:
    wire = WIRES["google"]
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
        "required": ["city", "degrees"],
        "additionalProperties": False,
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    async with behind(wire, make_text_script(wire, wire.delta(STRUCTURED), wire.end)) as (url, upstream):
        codex(url, "google/m", tmp_path)
        code, said = await ran(*EXEC, "--output-schema", "schema.json", "Weather?", home=tmp_path)
    assert (code, json.loads(said)) == (0, json.loads(STRUCTURED))
    assert "degrees" in json.dumps(upstream.requests[0].json)


async def test_codex_tells_an_error(tmp_path: Path) -> None:
    wire = WIRES["google"]
    async with behind(wire, refusing(wire, 400)) as (url, _):
        codex(url, "google/m", tmp_path)
        code, said = await ran(*EXEC, "Hello", home=tmp_path)
    assert code == 1 and '"message":"No."' in said


async def test_c1_codex_that_is_stopped_stops_the_provider(tmp_path: Path) -> None:
    wire = WIRES["google"]
    begun: asyncio.Queue[None] = asyncio.Queue()
    left = Left(wire)

    async def script(request: Any, connection: Any) -> None:
        begun.put_nowait(None)
        await left.script(request, connection)

    async with behind(wire, script) as (url, _):
        codex(url, "google/m", tmp_path)
        async with running(*EXEC, "Hello", home=tmp_path) as process:
            await asyncio.wait_for(begun.get(), 60)
            process.terminate()
            await left.seen()
