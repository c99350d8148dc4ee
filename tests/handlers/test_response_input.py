"""``/v1/responses/compact`` and ``/input_tokens``, as OpenAI's own client asks for them, over engines of every wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.handlers.test_kept_responses import OPENAI
from tests.handlers.test_responses import ENGINES, TRANSLATED, judged
from tests.support.field_cases import field_case
from tests.support.harness import Connection, Request, Script
from tests.support.scripted import ANSWER_TEXT, PNG, make_text_script
from tests.support.wires import WIRES, Wire

CONVERSATION: Final[Any] = [
    {"role": "developer", "content": "Speak plainly."},
    {"role": "user", "content": [{"type": "input_text", "text": "What is the weather?"}]},
    {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "Sunny, 21 degrees"},
    {"role": "assistant", "content": "It is sunny in Paris."},
    {"role": "user", "content": "And tomorrow?"},
]
COMPACTED: Final = {
    "id": "resp_c", "object": "response.compaction", "created_at": 1,
    "output": [{"id": "cmp_1", "type": "compaction", "encrypted_content": "theirs"}],
    "usage": {
        "input_tokens": 9, "output_tokens": 3, "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    },
}  # fmt: skip


def without_api(wire: Wire) -> Script:
    """A provider that has nothing at ``/compact`` and ``/input_tokens``."""
    answer = make_text_script(wire)

    async def script(request: Request, connection: Connection) -> None:
        if request.path.endswith(("/compact", "/input_tokens")):
            await connection.respond({"detail": "Not Found"}, 404)
        else:
            await answer(request, connection)

    return script


@ENGINES
async def test_gw_15_a_conversation_is_compacted_and_goes_on(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, without_api(wire), tmp_path) as (client, upstream, _):
        compacted = await client.responses.compact(model=f"{engine}/m", input=CONVERSATION, instructions="Be brief.")
        assert compacted.object == "response.compaction"
        assert (compacted.usage.input_tokens, compacted.usage.output_tokens) == (5, 2)
        asked = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
        for text in ("Be brief.", "What is the weather?", "Paris", "Sunny, 21 degrees", "And tomorrow?"):
            assert text in asked
        assert not upstream.requests[-1].json.get("tools")
        output = [item.to_dict(warnings=False) for item in compacted.output]
        assert [item["type"] for item in output] == ["message", "message", "compaction"]
        again: Any = [*output, {"role": "user", "content": "go on"}]
        answer = await client.responses.create(model=f"{engine}/m", input=again)
        assert answer.output_text == ANSWER_TEXT
        said = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
        places = [said.index(text) for text in ("What is the weather?", "And tomorrow?", ANSWER_TEXT, "go on")]
        assert places == sorted(places)
        assert "get_weather" not in said and "compaction" not in said and "llm-server" not in said


@ENGINES
async def test_a_kept_conversation_is_compacted_by_the_id_of_its_last_answer(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, without_api(wire), tmp_path) as (client, upstream, _):
        first = await client.responses.create(model=f"{engine}/m", input="first question")
        await client.responses.compact(model=f"{engine}/m", previous_response_id=first.id, input="second question")
        asked = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
        assert asked.index("first question") < asked.index(ANSWER_TEXT) < asked.index("second question")


async def test_gw_15_an_engine_with_the_api_is_asked(tmp_path: Path) -> None:
    case = field_case("gw-15")

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(COMPACTED)

    for engine, wire in (("openai", OPENAI), ("responses", WIRES["responses"])):
        async with judged(wire, script, tmp_path / engine) as (_, upstream, server):
            body = {**case["request"], "model": f"{engine}/gpt-5.4"}
            answer = await server.post(case["endpoint"], body)
            assert (answer.status, await answer.json()) == (200, COMPACTED)
        [request] = upstream.requests
        assert (request.path, request.json) == ("/v1/responses/compact", {**case["request"], "model": "gpt-5.4"})


async def test_gw_15_an_engine_that_has_lost_the_api_summarizes(tmp_path: Path) -> None:
    """An id of its own answer does not go with the summary."""
    async with judged(OPENAI, without_api(WIRES["responses"]), tmp_path) as (client, upstream, _):
        first = await client.responses.create(model="openai/m", input="first question")
        upstream.script = without_api(OPENAI)
        compacted = await client.responses.compact(model="openai/m", previous_response_id=first.id)
        assert compacted.output[-1].type == "compaction"
    sent = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
    assert "first question" in sent and first.id not in sent


async def test_what_a_summary_leaves_out_is_named(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    asked = {"model": "anthropic/m", "input": [{"role": "user", "content": [image]}]}
    async with judged(wire, without_api(wire), tmp_path) as (_, _, server):
        answer = await server.post("/v1/responses/compact", asked)
        assert (answer.status, answer.headers["X-Dropped-Fields"]) == (200, "image")
        await answer.body()
        answer = await server.post("/v1/responses/compact", {"model": "anthropic/m", "input": []})
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "input")


@pytest.mark.parametrize("path", ["compact", "input_tokens"])
async def test_an_unknown_response_before_is_refused_here_too(path: str, tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, without_api(wire), tmp_path) as (_, upstream, server):
        asked = {"model": "anthropic/m", "input": "x", "previous_response_id": "resp_x"}
        answer = await server.post(f"/v1/responses/{path}", asked)
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "previous_response_not_found")
    assert not upstream.requests


async def test_input_tokens_are_counted_by_the_engine(tmp_path: Path) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"object": "response.input_tokens", "input_tokens": 11})

    async with judged(OPENAI, script, tmp_path) as (client, upstream, _):
        counted = await client.responses.input_tokens.count(model="openai/m", input="x", truncation="auto")
        assert (counted.object, counted.input_tokens) == ("response.input_tokens", 11)
    [request] = upstream.requests
    assert (request.path, request.json) == (
        "/v1/responses/input_tokens", {"model": "m", "input": "x", "truncation": "auto"},
    )  # fmt: skip


async def test_input_tokens_of_another_wire_are_counted_there(tmp_path: Path) -> None:
    async def script(request: Request, connection: Connection) -> None:
        assert request.path == "/v1/messages/count_tokens"
        await connection.respond({"input_tokens": 13})

    async with judged(WIRES["anthropic"], script, tmp_path) as (client, _, _):
        assert (await client.responses.input_tokens.count(model="anthropic/m", input="x")).input_tokens == 13


@pytest.mark.parametrize("engine", ["cerebras", "ollama", "responses"])
async def test_an_estimate_of_input_tokens_is_marked(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, without_api(wire), tmp_path) as (client, upstream, server):
        answer = await server.post("/v1/responses/input_tokens", {"model": f"{engine}/m", "input": "one two three"})
        counted = await answer.json()
        assert (counted["object"], counted["estimated"]) == ("response.input_tokens", True)
        assert 0 < counted["input_tokens"] < 30
        assert answer.headers["X-Tokens-Estimated"] == "true"
        assert (await client.responses.input_tokens.count(model=f"{engine}/m", input="one two three")).input_tokens > 0
    assert not upstream.requests
