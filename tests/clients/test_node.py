"""The vendors' own packages for Node, and Vercel's, over engines of every wire. Skipped where there is no Node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clients.judging import STRUCTURED, Left, behind, ran, refusing, running
from tests.support.harness import CLIENT_ID, make_config, run_server
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script, make_text_script
from tests.support.wires import WIRES, Wire

NODE = Path(__file__).parent / "node"
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").exists(),
    reason="node or its packages are not installed: run `make test-clients` where npm is",
)
ALL_WIRES = {**WIRES, "openai": CHAT}
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
# The script, what WIRE says to it, and the class of the errors that it raises for a 429.
CLIENTS = {
    "openai": ("openai", "", "RateLimitError"),
    "responses": ("responses", "", "RateLimitError"),
    "anthropic": ("anthropic", "", "RateLimitError"),
    "gemini": ("gemini", "", "ApiError"),
    "ollama": ("ollama", "", "ResponseError"),
    "vercel-compatible": ("vercel", "compatible", "APICallError"),
    "vercel-responses": ("vercel", "responses", "APICallError"),
    "vercel-messages": ("vercel", "messages", "APICallError"),
}
ALL = pytest.mark.parametrize("client", CLIENTS)


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


def command(client: str, url: str, model: str, case: str) -> tuple[list[str], dict[str, str]]:
    script, wire, _ = CLIENTS[client]
    return ["node", "--no-warnings", str(NODE / f"{script}.mjs"), url, CLIENT_ID, model, case], {"WIRE": wire}


async def told(client: str, url: str, model: str, case: str, home: Path) -> Any:
    words, environ = command(client, url, model, case)
    code, said = await ran(*words, home=home, **environ)
    assert code == 0, said
    return json.loads(said)


@ALL
@EVERY
async def test_a_chat_streamed_and_whole_and_a_tool_s_round_trip(client: str, wire: Wire, tmp_path: Path) -> None:
    async with behind(wire, make_call_script(wire)) as (url, upstream):
        for case in ("whole", "stream"):
            said = await told(client, url, model_of(wire), case, tmp_path)
            assert said["text"] == ANSWER_TEXT
            usage = said["usage"]
            assert usage == 7, (case, usage)
        assert await told(client, url, model_of(wire), "tool", tmp_path) == {
            "whole": ANSWER_TEXT,
            "stream": ANSWER_TEXT,
        }
    assert "Sunny in Paris" in json.dumps(upstream.requests[-1].json)


@ALL
async def test_structured_output(client: str, tmp_path: Path) -> None:
    wire = WIRES["google"]
    async with behind(wire, make_text_script(wire, whole=wire.whole(STRUCTURED))) as (url, upstream):
        assert await told(client, url, "google/m", "structured", tmp_path) == json.loads(STRUCTURED)
    assert "degrees" in json.dumps(upstream.requests[0].json)


@ALL
async def test_errors_are_raised_as_the_right_class(client: str, tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with behind(wire, refusing(wire, 429)) as (url, _):
        caught = await told(client, url, model_of(wire), "error", tmp_path)
    assert (caught["error"], caught["status"]) == (CLIENTS[client][2], 429)
    assert "No." in caught["message"]
    assert client in ("gemini", "ollama") or caught["retryAfter"] == "7"


@ALL
async def test_c1_abort_in_mid_stream_reaches_the_provider(client: str, tmp_path: Path) -> None:
    wire = WIRES["ollama"]
    left = Left(wire)
    async with behind(wire, left.script) as (url, _):
        words, environ = command(client, url, "ollama/m", "abort")
        async with running(*words, home=tmp_path, **environ) as process:
            assert process.stdout is not None
            said = await process.stdout.readline()
            assert json.loads(said) == "left", said
            await left.seen()


@pytest.mark.parametrize("client", ["openai", "anthropic", "gemini"])
async def test_a_model_is_looked_up(client: str, tmp_path: Path) -> None:
    async with run_server(make_config()) as server:
        assert await told(client, server.url, "demo/demo-chat", "models", tmp_path) == "demo/demo-chat"
