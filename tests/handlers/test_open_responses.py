"""The compliance suite of Open Responses (2026-04-24), rewritten from its specification and its OpenAPI document.

Its 17 checks have the names of the suite. Each runs over an engine of every wire;
`docs/clients.md` has the figures.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect

from tests.support.harness import CLIENT_ID, Client
from tests.support.open_responses import (
    BEARER,
    COMPACTION,
    ERROR,
    MODELS,
    RESPONSE,
    Engine,
    find_event_faults,
    find_faults,
    make_native,
    serve,
)
from tests.support.paths import ROOT

WEATHER: Final = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
PICTURE: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "error")


class Suite:
    """One server, one engine, and the ways to ask it."""

    def __init__(self, server: Client, engine: Engine) -> None:
        self.server = server
        self.engine = engine
        self.model = engine.model

    async def post(self, path: str = "/v1/responses", status: int = 200, **body: Any) -> Any:
        answer = await self.server.post(path, body, BEARER)
        value = await answer.json()
        assert answer.status == status, value
        return value

    async def ask(self, input: Any, **fields: Any) -> Any:
        """Asks for a whole response, checks it and returns it."""
        response = await self.post(model=self.model, input=input, **fields)
        assert find_faults(RESPONSE, response) == []
        assert response["output"]
        assert response["status"] == "completed"
        return response

    async def stream(self, input: Any, **fields: Any) -> list[Any]:
        """Asks for a stream and returns its events, without the ``[DONE]`` that ends it."""
        body = {"model": self.model, "input": input, "stream": True, **fields}
        answer = await self.server.post("/v1/responses", body, BEARER)
        raw = (await answer.body()).decode()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        blocks = [block for block in raw.strip().split("\n\n") if not block.startswith(":")]
        if self.engine.wire != "openai-responses":  # whose bytes are passed on as they are
            assert blocks.pop() == "data: [DONE]"
        events = []
        for block in blocks:
            name, data = block.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
        return events

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[ClientConnection]:
        url = f"ws://127.0.0.1:{self.server.port}/v1/responses"
        async with connect(url, additional_headers=BEARER) as socket:
            yield socket

    async def turn(self, socket: ClientConnection, input: Any, **fields: Any) -> list[Any]:
        """Sends one message and returns its events up to the end."""
        await socket.send(json.dumps({"type": "response.create", "model": self.model, "input": input, **fields}))
        events: list[Any] = []
        while not events or events[-1]["type"] not in ENDS:
            events.append(json.loads(await socket.recv()))
        return events


def finish(events: list[Any]) -> Any:
    """Checks the events of an answer and returns its response."""
    assert find_event_faults(events) == []
    assert events[-1]["type"] == "response.completed"
    return events[-1]["response"]


def fail(events: list[Any]) -> Any:
    """Checks that a turn was refused and returns the error."""
    [error] = events
    assert find_faults(ERROR, error) == []
    return error["error"]


def say(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text, **more}


# --- the checks ---


async def basic_response(suite: Suite) -> None:
    await suite.ask([say("user", "Greet me in three words.")])
    assert find_faults(RESPONSE, await suite.post(model=suite.model, input="Greet me.")) == []


async def assistant_phase(suite: Suite) -> None:
    history = [say("assistant", "I look it up.", phase="commentary"), say("assistant", "Four.", phase="final_answer")]
    await suite.ask([*history, say("user", "Say only the number.")])


async def response_output_phase_schema(suite: Suite) -> None:
    """As in the suite, this is about the schema alone: it takes messages of either phase, and of no other."""
    part = {"type": "output_text", "text": "x", "annotations": []}
    items = [
        {
            "type": "message",
            "id": f"msg_{phase}",
            "role": "assistant",
            "status": "completed",
            "phase": phase,
            "content": [part],
        }
        for phase in ("commentary", "final_answer")
    ]
    assert find_faults(RESPONSE, make_native("resp_1", {}, *items)) == []
    assert find_faults(RESPONSE, make_native("resp_1", {}, {**items[0], "phase": "other"}))


async def streaming_response(suite: Suite) -> None:
    events = await suite.stream([say("user", "Count from one to five.")])
    assert finish(events)["output"]
    assert any(event["type"] == "response.output_text.delta" for event in events)


async def websocket_response(suite: Suite) -> None:
    async with suite.socket() as socket:
        assert finish(await suite.turn(socket, [say("user", "Count from one to three.")]))["output"]


async def websocket_sequential_responses(suite: Suite) -> None:
    async with suite.socket() as socket:
        ids = {finish(await suite.turn(socket, text, store=False))["id"] for text in ("First.", "Second.")}
    assert len(ids) == 2


async def websocket_continuation(suite: Suite) -> None:
    async with suite.socket() as socket:
        first = finish(await suite.turn(socket, "The word is cobalt.", store=False))
        second = finish(await suite.turn(socket, "Which word?", store=False, previous_response_id=first["id"]))
    assert second["previous_response_id"] == first["id"]
    assert "cobalt" in suite.engine.asked[-1] and "Which word?" in suite.engine.asked[-1]


async def websocket_reconnect_store_false_recovery(suite: Suite) -> None:
    async with suite.socket() as socket:
        first = finish(await suite.turn(socket, "The word is copper.", store=False))
    async with suite.socket() as socket:
        error = fail(await suite.turn(socket, "Go on.", store=False, previous_response_id=first["id"]))
        assert error["code"] == "previous_response_not_found"
        finish(await suite.turn(socket, [say("user", "A new beginning.")], store=False))


async def websocket_previous_response_not_found(suite: Suite) -> None:
    async with suite.socket() as socket:
        error = fail(await suite.turn(socket, "Go on.", store=False, previous_response_id="resp_missing"))
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")


async def websocket_failed_continuation_evicts_cache(suite: Suite) -> None:
    result = {"type": "function_call_output", "call_id": "call_missing", "output": "Of no call."}
    async with suite.socket() as socket:
        id = finish(await suite.turn(socket, "The word is ember.", store=False))["id"]
        fail(await suite.turn(socket, [result], store=False, previous_response_id=id))
        error = fail(await suite.turn(socket, "Go on.", store=False, previous_response_id=id))
    assert error["code"] == "previous_response_not_found"


async def websocket_compact_new_chain(suite: Suite) -> None:
    history = [say("user", "The word is slate."), say("assistant", "Yes."), say("user", "Compress this.")]
    compacted = await suite.post("/v1/responses/compact", model=suite.model, input=history)
    async with suite.socket() as socket:
        given = [*compacted["output"], say("user", "Go on from here.")]
        assert finish(await suite.turn(socket, given, store=False, tools=[]))["output"]


async def system_prompt(suite: Suite) -> None:
    await suite.ask([say("system", "Talk like a pirate."), say("user", "Greet me.")])
    assert "pirate" in suite.engine.asked[-1]


async def tool_calling(suite: Suite) -> None:
    asked = [say("user", "How is the weather in Rome?")]
    response = await suite.ask(asked, tools=[WEATHER])
    [call] = [item for item in response["output"] if item["type"] == "function_call"]
    assert call["name"] == "get_weather" and json.loads(call["arguments"]) == {"location": "Rome"}
    events = await suite.stream(asked, tools=[WEATHER])
    assert [item["type"] for item in finish(events)["output"]] == ["function_call"]
    kinds = {event["type"].removeprefix("response.function_call_arguments.") for event in events}
    assert {"delta", "done"} <= kinds


async def image_input(suite: Suite) -> None:
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PICTURE}]
    await suite.ask([{"type": "message", "role": "user", "content": content}])
    assert PICTURE.partition(",")[2] in suite.engine.asked[-1]


async def multi_turn(suite: Suite) -> None:
    await suite.ask([say("user", "I am Alice."), say("assistant", "Hello Alice!"), say("user", "Who am I?")])
    assert "Hello Alice!" in suite.engine.asked[-1]


async def compact_response(suite: Suite) -> None:
    history = [say("user", "We start on Tuesday."), say("assistant", "Understood: on Tuesday.")]
    compacted = await suite.post("/v1/responses/compact", model=suite.model, input=history, prompt_cache_key="k")
    assert find_faults(COMPACTION, compacted) == []
    assert "compaction" in [item["type"] for item in compacted["output"]]


async def compact_missing_model(suite: Suite) -> None:
    error = (await suite.post("/v1/responses/compact", status=400, input=[say("user", "Compress this.")]))["error"]
    assert error["param"] == "model"


CHECKS: Final[Mapping[str, Callable[[Suite], Awaitable[None]]]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        basic_response, assistant_phase, response_output_phase_schema, streaming_response, websocket_response,
        websocket_sequential_responses, websocket_continuation, websocket_reconnect_store_false_recovery,
        websocket_previous_response_not_found, websocket_failed_continuation_evicts_cache, websocket_compact_new_chain,
        system_prompt, tool_calling, image_input, multi_turn, compact_response, compact_missing_model,
    )
}  # fmt: skip


def test_there_are_all_17_checks() -> None:
    assert len(CHECKS) == 17


# --- the page ---

PAGE: Final = ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- open responses: written by tests/handlers/test_open_responses.py -->\n", "<!-- /open responses -->\n"


async def write_table() -> str:
    """Runs every check over an engine of every wire and returns the table of the results."""
    results: dict[str, list[str]] = {}
    for wire in MODELS:
        for name, check in CHECKS.items():
            try:
                async with serve(wire) as (server, engine):
                    await check(Suite(server, engine))
                results.setdefault(name, []).append("yes")
            except AssertionError:
                results.setdefault(name, []).append("no")
    passed = [f"{column.count('yes')} of {len(CHECKS)}" for column in zip(*results.values(), strict=True)]
    rows = [["check", *MODELS], ["---"] * (len(MODELS) + 1), *([name, *cells] for name, cells in results.items())]
    return "".join(f"| {' | '.join(row)} |\n" for row in [*rows, ["passed", *passed]])


async def test_the_page_has_the_figures() -> None:
    text = PAGE.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end
    table = await write_table()
    new = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(new)
    assert PAGE.read_text() == new, "UPDATE_DOCS=1 writes it anew"


@pytest.mark.parametrize("wire", MODELS)
@pytest.mark.parametrize("name", CHECKS)
async def test_open_responses(name: str, wire: str) -> None:
    async with serve(wire) as (server, engine):
        await CHECKS[name](Suite(server, engine))


@pytest.mark.parametrize("wire", MODELS)
async def test_su_10_openai_s_client_reads_a_stream_to_its_end(wire: str) -> None:
    """With ``[DONE]`` and, where the engine's own bytes are passed on, without."""
    async with serve(wire) as (server, engine):
        async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client:
            stream = await client.responses.create(model=engine.model, input="Hi", stream=True)
            kinds = [event.type async for event in stream]
            async with client.responses.stream(model=engine.model, input="Hi") as helper:
                final = await helper.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == "answer 2"
