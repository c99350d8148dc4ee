"""Frameworks for Node: two turns with a tool, over engines of every wire. Skipped where there is no Node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.clients.judging import behind, ran
from tests.support.harness import CLIENT_ID
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script
from tests.support.wires import WIRES, Wire

NODE = Path(__file__).parent / "node"
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").exists(),
    reason="node or its packages are not installed: run `make test-clients` where npm is",
)
ALL_WIRES = {**WIRES, "openai": CHAT}
# The script, and what WIRE says to it.
CLIENTS = {
    "OpenAI Agents for Node, Responses": ("agents", "responses"),
    "OpenAI Agents for Node, Chat": ("agents", "chat_completions"),
    "AI SDK 6": ("vercel6", ""),
    "multi-llm-ts, OpenAI": ("multi", "openai"),
    "multi-llm-ts, OpenAI with Responses": ("multi", "responses"),
    "multi-llm-ts, Anthropic": ("multi", "anthropic"),
    "multi-llm-ts, Ollama": ("multi", "ollama"),
    "multi-llm-ts, LM Studio": ("multi", "lmstudio"),
}


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


@pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_two_turns_with_a_tool(client: str, wire: Wire, tmp_path: Path) -> None:
    script, api = CLIENTS[client]
    async with behind(wire, make_call_script(wire), PATH_IDS="true") as (url, upstream):
        words = ["node", "--no-warnings", str(NODE / f"turns-{script}.mjs"), url, CLIENT_ID, model_of(wire), "turns"]
        code, said = await ran(*words, home=tmp_path, WIRE=api, PATH_URL=f"{url}/c/{CLIENT_ID}")
    assert code == 0 and said.strip(), said
    assert json.loads(said.splitlines()[-1]) == [ANSWER_TEXT, ANSWER_TEXT]
    last = json.dumps(upstream.requests[-1].json)
    assert "Hello" in last and "Sunny in Paris" in last and "And again" in last
