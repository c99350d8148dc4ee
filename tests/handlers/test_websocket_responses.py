"""Responses over a WebSocket: one after another on a connection that keeps the last of them, over every engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.open_responses import BEARER, ERROR, MODELS, find_event_faults, find_faults, serve
from tests.support.wires import WIRES

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
ALL = pytest.mark.parametrize("wire", MODELS)


@asynccontextmanager
async def open_socket(
    server: Client, headers: Mapping[str, str] = BEARER, **more: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{server.port}{more.pop('path', '/v1/responses')}"
    async with connect(url, additional_headers=dict(headers), max_size=None, **more) as socket:
        yield socket


async def turn(socket: ClientConnection, model: str, **fields: Any) -> list[Any]:
    """Sends a message and returns the events up to its end."""
    await socket.send(json.dumps({"type": "response.create", "model": model, "input": "Hello", **fields}))
    return await read_turn(socket)


async def read_turn(socket: ClientConnection) -> list[Any]:
    events: list[Any] = []
    while not events or events[-1]["type"] not in ENDS:
        message = await socket.recv()
        assert isinstance(message, str)
        events.append(json.loads(message))
    return events


def text_of(events: list[Any]) -> str:
    [message] = events[-1]["response"]["output"]
    return str(message["content"][0]["text"])


@ALL
@pytest.mark.parametrize("store", [False, None])
async def test_turns_follow_one_another_and_the_connection_continues_its_last_response(wire: str, store: Any) -> None:
    async with serve(wire) as (server, engine), open_socket(server) as socket:
        first = await turn(socket, engine.model, input="My name is Ada.", store=store)
        assert find_event_faults(first) == [] and text_of(first) == "answer 1"
        id = first[-1]["response"]["id"]
        second = await turn(socket, engine.model, input="What is my name?", store=store, previous_response_id=id)
        assert find_event_faults(second) == [] and text_of(second) == "answer 2"
        for event in (second[0], second[-1]):
            assert event["response"]["previous_response_id"] == id
        third_id = second[-1]["response"]["id"]
        await turn(socket, engine.model, input="And now?", store=store, previous_response_id=third_id)
    for text in ("My name is Ada.", "answer 1", "What is my name?"):
        assert text in engine.asked[1] and text in engine.asked[2]
    assert "previous_response_id" not in engine.asked[1] and "response.create" not in engine.asked[0]


@ALL
async def test_a_tool_round(wire: str) -> None:
    tools = [{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}]
    async with serve(wire) as (server, engine), open_socket(server) as socket:
        first = await turn(socket, engine.model, tools=tools, store=False)
        [call] = first[-1]["response"]["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Sunny."}
        id = first[-1]["response"]["id"]
        second = await turn(socket, engine.model, input=[result], store=False, previous_response_id=id)
        assert text_of(second) == "answer 2"
    assert "Sunny." in engine.asked[1] and "Rome" in engine.asked[1]


@ALL
async def test_a_connection_does_not_know_the_responses_of_another_that_are_not_stored(wire: str) -> None:
    async with serve(wire) as (server, engine):
        async with open_socket(server) as socket:
            id = (await turn(socket, engine.model, store=False))[-1]["response"]["id"]
        async with open_socket(server) as socket:
            [error] = await turn(socket, engine.model, store=False, previous_response_id=id)
            assert find_faults(ERROR, error) == []
            assert (error["status"], error["error"]["code"]) == (400, "previous_response_not_found")
            assert error["error"]["param"] == "previous_response_id" and id in error["error"]["message"]
            assert text_of(await turn(socket, engine.model, store=False)) == "answer 2"


@ALL
async def test_a_stored_response_is_known_to_another_connection_and_to_http(wire: str) -> None:
    async with serve(wire) as (server, engine):
        async with open_socket(server) as socket:
            id = (await turn(socket, engine.model, input="My name is Ada."))[-1]["response"]["id"]
        async with open_socket(server) as socket:
            events = await turn(socket, engine.model, previous_response_id=id)
            assert text_of(events) == "answer 2"
        body = {"model": engine.model, "input": "Hello", "previous_response_id": id}
        assert (await server.post("/v1/responses", body, BEARER)).status == 200
    if wire != "openai-responses":  # whose engine keeps it
        assert "My name is Ada." in engine.asked[1] and "My name is Ada." in engine.asked[2]


@ALL
async def test_a_continuation_that_fails_forgets_what_it_continued(wire: str) -> None:
    async with serve(wire) as (server, engine), open_socket(server) as socket:
        for how in ("call", "engine"):
            id = (await turn(socket, engine.model, store=False))[-1]["response"]["id"]
            result = {"type": "function_call_output", "call_id": "call_unknown", "output": "x"}
            engine.refuses = how == "engine"
            given = [result] if how == "call" else "Hi"
            [error] = await turn(socket, engine.model, input=given, store=False, previous_response_id=id)
            engine.refuses = False
            assert find_faults(ERROR, error) == []
            assert (error["status"] == 400 and "call_unknown" in error["error"]["message"]) == (how == "call")
            [gone] = await turn(socket, engine.model, store=False, previous_response_id=id)
            assert gone["error"]["code"] == "previous_response_not_found"
        assert text_of(await turn(socket, engine.model, store=False)) == f"answer {len(engine.asked)}"


async def test_messages_that_cannot_be_answered_are_error_events_and_the_connection_stays() -> None:
    cases: list[tuple[str, int, str]] = [
        ("{", 400, "message"),
        ("[]", 400, "type"),
        ("{}", 400, "type"),
        ('{"type": "response.steer"}', 400, "type"),
        ('{"type": "response.create"}', 400, "model"),
        ('{"type": "response.create", "model": "demo/demo-chat"}', 400, "input"),
        ('{"type": "response.create", "model": "demo/demo-chat", "input": 5}', 400, "input"),
        ('{"type": "response.create", "model": "demo/demo-chat", "input": "x", "background": true}', 400, "background"),
    ]
    async with run_server(make_config(MAX_RETRIES="0")) as server, open_socket(server) as socket:
        for text, status, param in cases:
            await socket.send(text)
            [error] = await read_turn(socket)
            assert find_faults(ERROR, error) == []
            assert (error["status"], error["error"]["param"]) == (status, param), text
        [unknown] = await turn(socket, "nobody/m")
        assert unknown["error"]["code"] == "engine_not_configured"
        [limited] = await turn(socket, "demo/demo-limit")
        assert (limited["status"], limited["headers"]["retry-after"]) == (429, "7")
        assert (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"


async def test_an_error_in_the_middle_is_one_event() -> None:
    async with run_server(make_config(MAX_RETRIES="0")) as server, open_socket(server) as socket:
        events = await turn(socket, "demo/demo-error-midstream")
        assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
        assert events[-1]["type"] == "response.failed" and events[-1]["response"]["error"]["message"]
        assert (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"


async def test_dropped_fields_are_named_in_the_first_event() -> None:
    async with serve("anthropic") as (server, engine), open_socket(server) as socket:
        events = await turn(socket, engine.model, truncation="auto")
    assert events[0]["dropped_fields"] == ["truncation"]
    assert not any("dropped_fields" in event for event in events[1:])


async def test_stream_ids_come_back_and_each_has_its_own_last_response() -> None:
    async with serve("gemini") as (server, engine), open_socket(server) as socket:
        ids = {}
        for lane in ("a", "b"):
            events = await turn(socket, engine.model, input=f"This is {lane}.", stream_id=lane, store=False)
            assert {event["stream_id"] for event in events} == {lane}
            ids[lane] = events[-1]["response"]["id"]
        for lane, id in ids.items():
            events = await turn(socket, engine.model, stream_id=lane, store=False, previous_response_id=id)
            assert "error" not in events[-1]
    assert "This is a." in engine.asked[2] and "This is a." not in engine.asked[3]


async def test_generate_false_prepares_a_conversation_without_asking_the_engine() -> None:
    async with serve("anthropic") as (server, engine), open_socket(server) as socket:
        events = await turn(socket, engine.model, input="My name is Ada.", generate=False, store=False)
        response = events[-1]["response"]
        assert find_event_faults(events) == [] and (response["status"], response["output"]) == ("completed", [])
        assert not engine.asked
        await turn(socket, engine.model, input="Hi", previous_response_id=response["id"], store=False)
    assert "My name is Ada." in engine.asked[0]


async def test_reasoning_without_its_content_is_not_sent_to_an_engine_that_does_not_keep_it() -> None:
    async with serve("openai-responses") as (server, engine), open_socket(server) as socket:
        thoughts = [{"type": "reasoning", "id": "rs_1", "summary": []}]
        whole = [{"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gA"}]
        first = await turn(
            socket, engine.model, input=[*thoughts, *whole, {"role": "user", "content": "Hi"}], store=False
        )
        await turn(socket, engine.model, previous_response_id=first[-1]["response"]["id"], store=False)
    assert "rs_1" not in engine.asked[1] and "rs_2" in engine.asked[1]


@pytest.mark.parametrize("objects", [10, 4000])
async def test_a_heavy_conversation_is_continued_like_a_light_one(objects: int) -> None:
    async with serve("anthropic") as (server, engine), open_socket(server) as socket:
        parts = [{"type": "input_text", "text": f"part {n}"} for n in range(objects)]
        first = await turn(socket, engine.model, input=[{"role": "user", "content": parts}], store=False)
        id = first[-1]["response"]["id"]
        second = await turn(socket, engine.model, input="And now? é", store=False, previous_response_id=id)
        assert find_event_faults(second) == []
    sent = json.loads(engine.asked[1])["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert [part["text"] for part in sent[0]["content"]] == [part["text"] for part in parts]
    assert "And now? é" in json.dumps(sent[2], ensure_ascii=False)


async def test_several_messages_are_answered_in_their_order() -> None:
    async with serve("openai-chat") as (server, engine), open_socket(server) as socket:
        for number in range(40):
            body = {"type": "response.create", "model": engine.model, "input": f"Question {number}", "store": False}
            await socket.send(json.dumps(body))
        for number in range(40):
            assert text_of(await read_turn(socket)) == f"answer {number + 1}"
    assert [f"Question {n}" in asked for n, asked in enumerate(engine.asked)] == [True] * 40


async def test_a_message_above_the_limit_closes_the_connection() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="2KB")) as server, open_socket(server) as socket:
        await socket.send("x" * 3000)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1009


async def test_a_conversation_above_the_limit_is_refused() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="2KB")) as server, open_socket(server) as socket:
        first = await turn(socket, "demo/demo-chat", input="x" * 1500, store=False)
        id = first[-1]["response"]["id"]
        [error] = await turn(socket, "demo/demo-chat", input="y" * 600, previous_response_id=id, store=False)
        assert error["status"] == 413 and "MAX_BODY_SIZE" in error["error"]["message"]
        assert (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"


async def test_without_room_nothing_is_kept_and_all_is_given_back() -> None:
    async with run_server(make_config(WEBSOCKET_MAX_SIZE="1KB")) as server:
        sockets = server.server.context.sockets
        async with open_socket(server) as socket:
            kept = (await turn(socket, "demo/demo-chat", store=False))[-1]["response"]["id"]
            assert 0 < sockets.used <= 1024
            lost = (await turn(socket, "demo/demo-chat", input="x" * 1000, store=False))[-1]["response"]["id"]
            assert sockets.used == 0  # the last one took the place of the first
            for id in (kept, lost):
                [error] = await turn(socket, "demo/demo-chat", store=False, previous_response_id=id)
                assert error["error"]["code"] == "previous_response_not_found"
            await turn(socket, "demo/demo-chat", store=False)
            assert sockets.used and sockets.open == 1
        await wait_for(lambda: sockets.open == 0)
        assert sockets.used == 0


async def wait_for(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


# --- the connection ---


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"X-Openai-Key": "sk-canary-own-0123456789"}, 426)],
)
async def test_the_upgrade_needs_a_client_id(headers: dict[str, str], status: int) -> None:
    async with run_server(make_config()) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with open_socket(server, headers):
                pass
        assert server.server.context.sockets.open == 0
    assert caught.value.response.status_code == status


@pytest.mark.parametrize(
    ("origin", "allowed", "opens"),
    [("https://evil.example", "", False), ("https://app.example", "https://app.example", True),
     ("https://evil.example", "https://app.example", False), ("https://any.example", "*", True), ("same", "", True)],
)  # fmt: skip
async def test_pages_of_other_origins_are_refused(origin: str, allowed: str, opens: bool) -> None:
    async with run_server(make_config(AUTHORIZED_CLIENT_ID="*", CORS_ORIGINS=allowed)) as server:
        origin = f"http://127.0.0.1:{server.port}" if origin == "same" else origin
        try:
            async with open_socket(server, {"Origin": origin}) as socket:
                assert opens and (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"
        except InvalidStatus as refused:
            assert not opens and refused.response.status_code == 400
            assert b"CORS_ORIGINS" in refused.response.body


async def test_the_number_of_connections_is_limited() -> None:
    async with run_server(make_config(MAX_WEBSOCKETS="1")) as server:
        async with open_socket(server):
            with pytest.raises(InvalidStatus) as caught:
                async with open_socket(server):
                    pass
            assert caught.value.response.status_code == 426 and b"MAX_WEBSOCKETS" in caught.value.response.body
        await wait_for(lambda: server.server.context.sockets.open == 0)
        async with open_socket(server) as socket:
            assert (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"


async def test_a_connection_ends_at_its_age_and_when_it_is_idle() -> None:
    async with run_server(make_config(WEBSOCKET_MAX_AGE="1s")) as server, open_socket(server) as socket:
        assert (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"
        [error] = await read_turn(socket)
        assert error["error"]["code"] == "websocket_connection_limit_reached"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000
    async with run_server(make_config(WEBSOCKET_IDLE_TIMEOUT="1s")) as server, open_socket(server) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1000, "idle (WEBSOCKET_IDLE_TIMEOUT)")


async def test_pings_are_sent_while_nothing_else_is_and_answered() -> None:
    async with run_server(make_config(KEEPALIVE_INTERVAL="0.2")) as server:
        async with open_socket(server) as socket:
            pings: list[int] = []
            protocol: Any = socket.protocol
            seen = protocol.recv_frame

            def watch(frame: Any) -> None:
                pings.append(int(frame.opcode))
                seen(frame)

            protocol.recv_frame = watch
            await wait_for(lambda: pings.count(9) >= 2)
            await socket.send(json.dumps({"type": "response.create", "model": "demo/demo-stall", "input": "x"}))
            while json.loads(await socket.recv())["type"] != "response.output_text.delta":
                pass
            before = len(pings)
            await wait_for(lambda: pings[before:].count(9) >= 2)
        await wait_for(lambda: server.server.context.sockets.open == 0)
        assert len(server.server.context.active) == 0


async def test_tornado_s_own_client_is_answered() -> None:
    async with run_server(make_config()) as server:
        request = HTTPRequest(f"ws://127.0.0.1:{server.port}/v1/responses", headers=BEARER)
        client = await websocket_connect(request)
        await client.write_message(json.dumps({"type": "response.create", "model": "demo/demo-chat", "input": "x"}))
        kinds: list[str] = []
        while not kinds or kinds[-1] not in ENDS:
            message = await client.read_message()
            assert isinstance(message, str)
            kinds.append(json.loads(message)["type"])
        client.close(1000, "bye")
        assert kinds[-1] == "response.completed" and await client.read_message() is None


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_that_leaves_ends_the_answer_at_the_provider(how: str) -> None:
    wire, gone = WIRES["anthropic"], asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(wire.head + wire.delta("Hi"))
        await connection.wait_closed()
        gone.set()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        async with open_socket(server) as socket:
            await socket.send(json.dumps({"type": "response.create", "model": "anthropic/m", "input": "x"}))
            while json.loads(await socket.recv())["type"] != "response.output_text.delta":
                pass
            if how == "abort":
                socket.transport.abort()
            else:
                await socket.close()
            await asyncio.wait_for(gone.wait(), 10)
        await wait_for(lambda: server.server.context.sockets.open == 0)
        assert len(server.server.context.active) == 0


async def test_a_slow_client_slows_the_provider() -> None:
    wire, sent = WIRES["anthropic"], 0

    async def script(request: Request, connection: Connection) -> None:
        nonlocal sent
        await connection.stream()
        await connection.chunk(wire.head)
        for _ in range(4000):
            await connection.chunk(wire.delta("x" * 10_000))
            sent += 1
        await connection.chunk(wire.end)
        await connection.end()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        async with open_socket(server, max_queue=1) as socket:
            await socket.send(json.dumps({"type": "response.create", "model": "anthropic/m", "input": "x"}))
            at = -1
            while at != sent:  # until nothing moves any more
                at = sent
                await asyncio.sleep(0.5)
            assert 0 < sent < 4000
            events = await read_turn(socket)
            assert events[-1]["type"] == "response.completed" and len(text_of(events)) == 40_000_000


async def test_at_the_shutdown_running_answers_end_and_idle_connections_are_closed_at_once() -> None:
    wire, go = WIRES["anthropic"], asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(wire.head + wire.delta("Hi"))
        await go.wait()
        await connection.chunk(wire.end)
        await connection.end()

    async with Upstream(script).run() as upstream, run_server(make_config(**wire.environ(upstream))) as server:
        async with open_socket(server) as idle, open_socket(server) as busy:
            await busy.send(json.dumps({"type": "response.create", "model": "anthropic/m", "input": "x"}))
            while json.loads(await busy.recv())["type"] != "response.output_text.delta":
                pass
            stopping = asyncio.create_task(server.server.context.active.drain(10))
            with pytest.raises(ConnectionClosed):
                await idle.recv()
            assert idle.close_code == 1001
            go.set()
            assert (await read_turn(busy))[-1]["type"] == "response.completed"
            with pytest.raises(ConnectionClosed):
                await busy.recv()
            assert busy.close_code == 1001
            await stopping


async def test_a_client_id_in_the_path_holds_for_every_message() -> None:
    async with run_server(make_config(PATH_IDS="true")) as server:
        async with open_socket(server, {}, path=f"/c/{CLIENT_ID}/v1/responses") as socket:
            assert (await turn(socket, "demo/demo-chat"))[-1]["type"] == "response.completed"


async def test_openai_s_python_client() -> None:
    async with serve("gemini") as (server, engine):
        client = AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1")
        async with client.responses.connect() as connection:
            await connection.response.create(model=engine.model, input="My name is Ada.", store=False)
            first = [event async for event in until_end(connection)]
            id = first[-1].response.id
            await connection.response.create(model=engine.model, input="Hi", store=False, previous_response_id=id)
            second = [event async for event in until_end(connection)]
            await connection.response.create(model=engine.model, input="Hi", store=False, previous_response_id="resp_x")
            errors = [event async for event in until_end(connection)]
    assert [event.type for event in (first[-1], second[-1], errors[-1])] == [*["response.completed"] * 2, "error"]
    assert second[-1].response.output_text == "answer 2" and "My name is Ada." in engine.asked[1]


async def until_end(connection: Any) -> AsyncIterator[Any]:
    async for event in connection:
        yield event
        if event.type in ENDS:
            return
