"""simonw/llm, by its extra-openai-models.yaml and by its plugins, over engines of every wire.

It runs as a process of its own: its package bears the name of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.judging import STRUCTURED, Left, behind, ran, refusing, running
from tests.support.harness import CLIENT_ID, Connection, Request
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script, make_text_script
from tests.support.wires import WIRES, Wire

LLM = str(Path(sys.executable).with_name("llm"))
ALL_WIRES = {**WIRES, "openai": CHAT}
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
# Each start of it takes seconds: its two wires over some of ours, which other clients try out in full.
SOME = pytest.mark.parametrize(
    ("wire", "responses"),
    [(ALL_WIRES["anthropic"], False), (ALL_WIRES["google"], True)],
    ids=["chat-anthropic", "responses-google"],
)
TOOL = 'def get_weather(city: str) -> str:\n    "The weather"\n    return f"Sunny in {city}"\n'


def set_up(home: Path, url: str, wire: Wire, responses: bool = False) -> dict[str, str]:
    """JSON is YAML."""
    model = f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"
    entry: dict[str, Any] = {"model_id": "here", "model_name": model, "api_base": f"{url}/v1", "api_key_name": "here"}
    entry |= {"supports_schema": True, "supports_tools": True, "vision": True, "responses": responses}
    (home / "extra-openai-models.yaml").write_text(json.dumps([entry]))
    (home / "keys.json").write_text(json.dumps({"here": CLIENT_ID}))
    return {"LLM_USER_PATH": str(home)}


@EVERY
async def test_a_prompt(wire: Wire, tmp_path: Path) -> None:
    async with behind(wire, make_text_script(wire)) as (url, _):
        environ = set_up(tmp_path, url, wire)
        assert await ran(LLM, "-m", "here", "Hello", home=tmp_path, **environ) == (0, f"{ANSWER_TEXT}\n")


@SOME
async def test_a_prompt_whole(wire: Wire, responses: bool, tmp_path: Path) -> None:
    async with behind(wire, make_text_script(wire)) as (url, _):
        environ = set_up(tmp_path, url, wire, responses)
        assert await ran(LLM, "-m", "here", "--no-stream", "Hello", home=tmp_path, **environ) == (0, f"{ANSWER_TEXT}\n")


@SOME
async def test_it_runs_a_tool(wire: Wire, responses: bool, tmp_path: Path) -> None:
    async with behind(wire, make_call_script(wire)) as (url, upstream):
        environ = set_up(tmp_path, url, wire, responses)
        code, said = await ran(LLM, "-m", "here", "--functions", TOOL, "Weather?", home=tmp_path, **environ)
    assert (code, said.strip()) == (0, ANSWER_TEXT)
    assert "Sunny in Paris" in json.dumps(upstream.requests[-1].json)


@SOME
async def test_an_answer_by_a_schema(wire: Wire, responses: bool, tmp_path: Path) -> None:
    script = make_text_script(wire, wire.head, wire.delta(STRUCTURED), wire.end, whole=wire.whole(STRUCTURED))
    async with behind(wire, script) as (url, upstream):
        environ = set_up(tmp_path, url, wire, responses)
        schema = "city, degrees int"
        code, said = await ran(LLM, "-m", "here", "--schema", schema, "Weather?", home=tmp_path, **environ)
    assert (code, json.loads(said)) == (0, json.loads(STRUCTURED))
    assert "degrees" in json.dumps(upstream.requests[0].json)


@SOME
async def test_an_error_is_told_in_the_provider_s_words(wire: Wire, responses: bool, tmp_path: Path) -> None:
    async with behind(wire, refusing(wire, 400)) as (url, _):
        code, said = await ran(LLM, "-m", "here", "Hello", home=tmp_path, **set_up(tmp_path, url, wire, responses))
    assert code == 1 and "No." in said


async def test_c1_a_client_that_is_stopped_stops_the_provider(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    left = Left(wire)
    async with behind(wire, left.script) as (url, _):
        environ = set_up(tmp_path, url, wire)
        async with running(LLM, "-m", "here", "Hello", home=tmp_path, **environ) as process:
            assert process.stdout is not None
            assert await process.stdout.readexactly(2) == b"Hi"
            process.terminate()
            await left.seen()


async def test_its_plugin_for_ollama(tmp_path: Path) -> None:
    """It asks what models there are, which by their digests, and what they can, before it asks for an answer."""
    wire = WIRES["google"]
    said = make_text_script(wire)

    async def script(request: Request, connection: Connection) -> None:
        if request.method == "GET":
            await connection.respond({"models": [{"name": "models/m"}, {"name": "models/other"}]})
        else:
            await said(request, connection)

    async with behind(wire, script) as (url, _):
        environ = {"LLM_USER_PATH": str(tmp_path), "OLLAMA_HOST": url, "OLLAMA_API_KEY": CLIENT_ID}
        told = await ran(LLM, "-m", "ollama/google/m", "Hello", home=tmp_path, **environ)
    assert told == (0, f"{ANSWER_TEXT}\n")
