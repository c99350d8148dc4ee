"""The tool loop through the running server, over every wire: rounds, parallel calls, limits, cancellation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from llm.wire.json_codec import Json
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.tool_rounds import SIGNED, TOOLS, Calls, ScriptedTool, double, make_round, make_upstream
from tests.support.wires import WIRES

WIRES_WITH_TOOLS = ("openai", "responses", "anthropic", "google", "ollama")
THREE: list[tuple[str, Calls]] = [
    ("One. ", [("double", '{"n": 21}'), ("shop", "{}")]),
    ("Two. ", [("double", '{"n": 4')]),
    ("Three.", []),
]


@pytest.mark.parametrize("wire", WIRES_WITH_TOOLS)
async def test_three_rounds_with_parallel_calls_are_one_answer(wire: str) -> None:
    upstream = make_upstream(wire, [make_round(wire, text, calls) for text, calls in THREE])
    async with upstream.run(), run_server(make_config(**WIRES[wire].environ(upstream)), tools=TOOLS) as server:
        objects = await server.chat({"Accept": "application/x-ndjson"}, engine=wire, model="llama3.1:8b")
    texts = [o["text"] for o in objects if o["type"] == "content"]
    assert "".join(texts) == "One. Two. Three."
    assert [o["done"] for o in objects if o["type"] == "content"].count(True) == 1
    tools = [o for o in objects if o["type"] == "tool"]
    assert len({o["id"] for o in tools}) == 3
    for name, states in (
        ("double", ["running", "completed"]),
        ("shop", ["running", "error"]),
        ("double", ["running", "error"]),  # its arguments are invalid JSON
    ):
        id = next(o["id"] for o in tools if o["name"] == name and o["call"]["params"] is not None)
        mine = [o for o in tools if o["id"] == id]
        tools = [o for o in tools if o["id"] != id]
        assert [o["state"] for o in mine if o["state"] != "preparing"] == states
        assert mine[0]["state"] == "preparing"
        assert mine[-1]["status"] == f"{name} is {states[-1]}" or states[-1] == "error"
    usage = objects[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (15, 6)
    assert objects[-1]["type"] == "usage"
    assert len(upstream.requests) == 3
    second, third = (json.dumps(request.json) for request in upstream.requests[1:])
    assert '\\"double\\": 42' in second or '"double": 42' in second or '\\"double\\":42' in second
    assert "The shop is closed." in second
    assert second.index("42") < second.index("The shop is closed.")  # in the order of the calls
    assert "not a JSON object" in third or "is not of type 'integer'" in third
    if wire in ("responses", "anthropic", "google"):
        assert second.count(SIGNED) == 1 and third.count(SIGNED) == 2


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", ["invented", "Double", ""])
async def test_a_name_that_the_model_made_up_gets_an_error_and_another_round(name: str, stream: bool) -> None:
    wire = WIRES["openai"]
    calls = [("c1", name or "invented"), *([] if name else [("c2", "double")])]

    async def script(request: Request, connection: Connection) -> None:
        if len(upstream.requests) > 1:
            answer = wire.whole("Done"), wire.head + wire.delta("Done") + wire.end
        else:
            made = [
                {"index": n, "id": id, "type": "function", "function": {"name": one, "arguments": '{"n": 1}'}}
                for n, (id, one) in enumerate(calls)
            ]
            message = {"role": "assistant", "content": None, "tool_calls": made}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            chunks = [
                {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            ]
            streamed = b"".join(f"data: {json.dumps({'id': 'c', **chunk})}\n\n".encode() for chunk in chunks)
            answer = {"id": "c", "object": "chat.completion", "choices": [choice]}, streamed + b"data: [DONE]\n\n"
        if not request.json.get("stream"):
            await connection.respond(answer[0])
            return
        await connection.stream()
        await connection.chunk(answer[1])
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**wire.environ(upstream)), tools=TOOLS) as server:
        body = {"engine": "openai", "model": "m", "prompt": "Hello", "stream": stream}
        answer = await server.post("/llm/chat", body, {**CLIENT, "Accept": "application/x-ndjson"})
        raw = await answer.body()
    assert answer.status == 200 and b"Done" in raw
    results = [m for m in upstream.requests[1].json["messages"] if m["role"] == "tool"]
    assert [result["tool_call_id"] for result in results] == [id for id, _ in calls]
    assert f"There is no tool '{name or 'invented'}'; there are double, shop." in results[0]["content"]
    assert bool(name) or "2" in results[-1]["content"]
    if stream:
        states = [o["state"] for o in map(json.loads, raw.splitlines()) if o["type"] == "tool" and o["id"] == "c1"]
        assert states[-1] == "error"
    else:
        assert [call["name"] for call in json.loads(raw)["toolCalls"]] == [one for _, one in calls]


async def test_e3_each_round_is_retried() -> None:
    """Each round fails twice first, the maximum of retries."""

    async def script(request: Request, connection: Connection) -> None:
        number, failing = divmod(len(upstream.requests) - 1, 3)
        if failing < 2:
            await connection.head(429, {"Retry-After": "0", "Content-Length": "0"})
            return
        await connection.stream()
        await connection.chunk(make_round("openai", *THREE[number]))
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES["openai"].environ(upstream)), tools=TOOLS) as server:
        objects = await server.chat({"Accept": "application/x-ndjson"}, engine="openai", model="m")
    assert "".join(o["text"] for o in objects if o["type"] == "content") == "One. Two. Three."
    assert len(upstream.requests) == 9


async def test_a_forced_tool_is_forced_in_the_first_round_only() -> None:
    upstream = make_upstream(
        "openai", [make_round("openai", "", [("double", '{"n": 1}')]), make_round("openai", "Done", [])]
    )
    async with upstream.run(), run_server(make_config(**WIRES["openai"].environ(upstream)), tools=TOOLS) as server:
        await server.chat(engine="openai", model="m", options={"toolChoice": {"type": "required"}})
    assert [request.json["tool_choice"] for request in upstream.requests] == ["required", "auto"]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"MAX_TOOL_ROUNDS": "3"}, "3 rounds"),
        ({"MAX_TOOL_TOKENS": "20"}, "20 tokens"),
        ({"MAX_TOOL_TIME": "0.05"}, "0.05 seconds"),
    ],
)
async def test_an_endless_loop_ends_at_its_limit(setting: dict[str, str], reason: str) -> None:
    async def slow(arguments: Mapping[str, Json]) -> Json:
        if "MAX_TOOL_TIME" in setting:
            await asyncio.Event().wait()
        return 1

    upstream = make_upstream("openai", [make_round("openai", "x", [("slow", "{}")])])
    tools = {"slow": ScriptedTool("slow", slow)}
    async with upstream.run():
        async with run_server(make_config(**WIRES["openai"].environ(upstream, **setting)), tools=tools) as server:
            objects = await server.chat({"Accept": "application/x-ndjson"}, engine="openai", model="m")
    assert (objects[-1]["type"], objects[-1]["code"]) == ("error", "tool_limit")
    assert reason in objects[-1]["error"]
    states = [o["state"] for o in objects if o["type"] == "tool"]
    assert states[-1] == ("completed" if "MAX_TOOL_ROUNDS" in setting else "canceled")


async def test_a_slow_or_broken_tool_fails_its_call_only() -> None:
    async def never(arguments: Mapping[str, Json]) -> Json:
        await asyncio.Event().wait()
        return None

    async def broken(arguments: Mapping[str, Json]) -> Json:
        raise KeyError("secret detail")

    tools = {"never": ScriptedTool("never", never), "broken": ScriptedTool("broken", broken)}
    rounds = [make_round("openai", "", [("never", "{}"), ("broken", "{}")]), make_round("openai", "Done", [])]
    upstream = make_upstream("openai", rounds)
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["openai"].environ(upstream, TOOL_TIMEOUT="0.05")), tools=tools) as s,
    ):
        objects = await s.chat({"Accept": "application/x-ndjson"}, engine="openai", model="m")
    assert objects[-2]["done"] and objects[-1]["type"] == "usage"
    results = [message["content"] for message in upstream.requests[1].json["messages"] if message["role"] == "tool"]
    assert "longer than 0.05 seconds" in results[0] and results[1] == '{"error":"broken failed."}'
    assert "secret" not in json.dumps(objects)


@pytest.mark.parametrize("how", ["leaves", "deletes"])
async def test_c5_cancelling_stops_the_tool_and_the_provider(how: str) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def waits(arguments: Mapping[str, Json]) -> Json:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return None

    upstream = make_upstream("openai", [make_round("openai", "x", [("waits", "{}")])])
    async with upstream.run():
        async with run_server(
            make_config(**WIRES["openai"].environ(upstream)), tools={"waits": ScriptedTool("waits", waits)}
        ) as server:
            body = {"engine": "openai", "model": "m", "prompt": "Go"}
            answer = await server.send("POST", "/llm/chat", body, {**CLIENT, "X-Request-Id": "my-request-1"})
            await asyncio.wait_for(started.wait(), 5)
            if how == "leaves":
                answer.close()
            else:
                assert (await server.request("DELETE", "/llm/chat/my-request-1")).status == 204
                await answer.head()
                *_, call, end = await answer.objects()
                assert (call["type"], call["state"], end["code"]) == ("tool", "canceled", "cancelled")
            await asyncio.wait_for(stopped.wait(), 5)
            while len(server.server.context.active):
                await asyncio.sleep(0.01)
    assert all("tool" not in {m["role"] for m in r.json["messages"]} for r in upstream.requests)


async def test_the_tools_of_a_request() -> None:
    tools = {"free": ScriptedTool("free", double), "paid": ScriptedTool("paid", double, paid=True)}
    upstream = make_upstream("openai", [make_round("openai", "Hi", [])])
    async with upstream.run(), run_server(make_config(**WIRES["openai"].environ(upstream)), tools=tools) as server:

        async def offered(headers: dict[str, str], **body: Any) -> Any:
            whole = {"engine": "openai", "model": "gpt-4o", "prompt": "Hi", **body}
            answer = await server.post("/llm/chat", whole, headers)
            if answer.status != 200:
                return answer.status, (await answer.json())["param"]
            await answer.body()
            return [tool["function"]["name"] for tool in upstream.requests[-1].json.get("tools", ())]

        assert await offered(CLIENT) == ["free", "paid"]
        assert await offered(CLIENT, tools=True) == ["free", "paid"]
        assert await offered(CLIENT, tools=False) == []
        assert await offered(CLIENT, tools=[]) == []
        assert await offered(CLIENT, tools=["paid"]) == ["paid"]
        assert await offered(CLIENT, tools=["free", "nothing"]) == (400, "tools[1]")
        assert await offered(CLIENT, tools=["run_python_code"]) == (400, "tools[0]")
        assert await offered({"X-OpenAI-Key": "sk-own-key-1"}) == ["free"]
        assert await offered({"X-OpenAI-Key": "sk-own-key-1"}, tools=["paid"]) == (400, "tools[0]")
        # A model that cannot call tools gets none, unless the request names them.
        assert await offered(CLIENT, model="chatgpt-4o-latest") == []
        assert await offered(CLIENT, model="chatgpt-4o-latest", tools=["free"]) == ["free"]
