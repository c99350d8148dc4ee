"""Limits: running answers, connections, and the cost of slow, large or unusual clients."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
from contextlib import suppress
from typing import Any

import pytest

from handlers import ROUTES
from handlers.base import BaseHandler
from handlers.request.limits import MAX_OPEN_BODY, MAX_VALUES, ConcurrencyLimit, check_values
from handlers.server.listener import limit_connections
from llm import log
from llm.errors import InvalidRequest, RateLimited
from llm.wire.json_codec import MAX_DEPTH
from tests.support.harness import CLIENT, CLIENT_ID, Answer, Client, Connection, Request, make_config, run_server
from tests.support.limits import (
    CHAT,
    COUNTED_BODIES,
    OPENAI,
    SECOND_CLIENT,
    HeldStreams,
    run_in_front_of,
    send_raw,
    wait_until,
)
from tests.support.work import limit_processor_time

HEAD = b"POST /llm/chat HTTP/1.1\r\nHost: x\r\n"
CHAT_HEAD = HEAD + f"X-ClientId: {CLIENT_ID}\r\nContent-Type: application/json\r\n".encode()
FREE = (("GET", "/llm/engines"), ("GET", "/health"), ("GET", "/api/version"))


# --- answers at a time ---


def test_every_route_that_requests_an_answer_is_counted() -> None:
    patterns = [path for path, handler, _ in ROUTES if handler.counts_as_answer]
    asked = {path: [pattern for pattern in patterns if re.fullmatch(pattern, path)] for path in COUNTED_BODIES}
    assert all(asked.values())
    assert {pattern for found in asked.values() for pattern in found} == {*patterns}


async def test_the_number_of_running_answers_is_limited_in_every_dialect() -> None:
    held = HeldStreams()
    async with run_in_front_of(held, MAX_ANSWERS="2") as server:
        under_way = [await server.send("POST", "/llm/chat", CHAT, CLIENT) for _ in range(2)]
        for _ in under_way:
            await held.started.acquire()
        for path, body in COUNTED_BODIES.items():
            answer = await server.post(path, body)
            assert answer.status == 429, path
            assert answer.headers["Retry-After"] == "1"
            told = await answer.json()
            inner = told["error"]
            match path.split("/")[1:]:
                case ["v1", "messages", *_]:
                    assert (told["type"], inner["type"]) == ("error", "rate_limit_error"), path
                case ["v1beta", *_]:
                    assert inner["status"] == "RESOURCE_EXHAUSTED" and "MAX_ANSWERS" in inner["message"], path
                case ["v1" | "v2", *_]:
                    assert inner["type"] == "rate_limit_error" and "MAX_ANSWERS" in inner["message"], path
                case _:
                    assert told["code"] == "rate_limited" and "MAX_ANSWERS" in inner, path
        for method, path in FREE:
            assert (await server.request(method, path)).status == 200  # routes without a provider request still work
        others = await server.post("/llm/chat", CHAT, SECOND_CLIENT)
        assert others.status == 200
        held.released.set()
        for answer in under_way:
            await answer.head()
            assert '"done":true' in (await answer.body()).decode()
        assert (await server.post("/llm/chat", CHAT)).status == 200


async def test_own_keys_are_counted_by_key_also_beside_other_keys() -> None:
    held = HeldStreams()
    async with run_in_front_of(held, MAX_ANSWERS="1") as server:
        mine = {"X-OpenAI-Key": "sk-own-canary-1"}
        first = await server.send("POST", "/llm/chat", CHAT, mine)
        await held.started.acquire()
        for headers, status in (
            (mine, 429),
            ({**mine, "X-Groq-Key": "gsk-made-up-canary"}, 429),
            ({"X-OpenAI-Key": "sk-another-canary"}, 200),
            (CLIENT, 200),
        ):
            answer = await server.post("/llm/chat", CHAT, headers)
            assert answer.status == status, headers
        first.close()
        await wait_until(lambda: len(server.server.context.concurrency) == 2)
        held.released.set()


async def test_zero_means_no_limit() -> None:
    held = HeldStreams()
    async with run_in_front_of(held, MAX_ANSWERS="0") as server:
        for _ in range(30):
            await server.send("POST", "/llm/chat", CHAT, CLIENT)
        async with asyncio.timeout(10):
            for _ in range(30):
                await held.started.acquire()


def test_answers_are_counted_for_each_name_of_a_caller() -> None:
    answers = ConcurrencyLimit(2)
    one, two = frozenset({"a", "b"}), frozenset({"b", "c"})
    with answers.acquire(one):
        with answers.acquire(two):
            with pytest.raises(RateLimited), answers.acquire(frozenset({"b"})):
                pass
            with answers.acquire(frozenset({"c"})):
                pass
        with answers.acquire(frozenset({"b"})):
            pass
    assert len(answers) == 0


async def _leave(answer: Answer, server: Client, id: str) -> None:
    answer.close()


async def _cancel(answer: Answer, server: Client, id: str) -> None:
    assert (await server.request("DELETE", f"/llm/chat/{id}")).status == 204


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("stage", ["waiting", "headers", "streaming"])
@pytest.mark.parametrize("how", [_leave, _cancel])
async def test_a_stopped_answer_frees_its_slot_at_once(how: Any, stage: str, stream: bool) -> None:
    reached = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        if stage != "waiting":
            await connection.stream()
        if stage == "streaming":
            await connection.chunk(OPENAI.head + OPENAI.delta("Hi"))
        reached.set()
        await connection.wait_closed()

    async with run_in_front_of(script, MAX_ANSWERS="1") as server:
        id = "an-id-of-the-client"
        answer = await server.send("POST", "/llm/chat", {**CHAT, "stream": stream}, {**CLIENT, "X-Request-Id": id})
        await reached.wait()
        assert len(server.server.context.concurrency) == 1
        await how(answer, server, id)
        await wait_until(lambda: not len(server.server.context.concurrency))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("ending", ["end", "cut", "error", "refused", "garbage"])
async def test_an_answer_frees_its_slot_however_it_ends(ending: str, stream: bool) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if ending == "refused":
            await connection.respond({"error": {"message": "No."}}, 400)
            return
        await connection.stream()
        await connection.chunk(OPENAI.head + OPENAI.delta("Hi"))
        if ending == "end":
            await connection.chunk(OPENAI.end)
        elif ending == "error":
            await connection.chunk(OPENAI.error)
        elif ending == "garbage":
            await connection.send(b"what?\r\n")
        if ending == "cut":
            connection.cut()
        else:
            await connection.end()

    async with run_in_front_of(script, MAX_ANSWERS="1", MAX_RETRIES="0") as server:
        for _ in range(3):
            answer = await server.post("/llm/chat", {**CHAT, "stream": stream})
            assert answer.status != 429
            await answer.body()
            await wait_until(lambda: not len(server.server.context.concurrency))


@pytest.mark.parametrize("path", COUNTED_BODIES)
async def test_an_invalid_request_frees_its_slot(path: str) -> None:
    async with run_in_front_of(HeldStreams(), MAX_ANSWERS="1") as server:
        for _ in range(2):
            assert (await server.post(path, {"model": 7, "engine": 7})).status == 400
        assert not len(server.server.context.concurrency)


async def test_a_connection_above_the_limit_gets_429() -> None:
    async with run_server(make_config(MAX_CONNECTIONS="2")) as server:
        one, two = [await send_raw(server, b"") for _ in range(2)]
        assert (await server.get("/llm/engines", {})).status == 429
        for path in ("/health", "/health?x", "http://x/health"):
            answer = await server.get(path, {})
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        refused = await server.post("/llm/engines", {}, {})
        assert (refused.status, refused.headers["Retry-After"], refused.headers["Connection"]) == (429, "1", "close")
        reader, writer = await send_raw(server, b"")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ") and b"\r\nRetry-After: 1\r\n" in head
        assert json.loads(body) == {
            "error": "Too many clients are connected (MAX_CONNECTIONS).", "code": "rate_limited", "retry_after": 1.0,
        }  # fmt: skip
        writer.close()
        one[1].close()
        for answer in server.open:
            answer.close()
        listener = server.server.listener
        await wait_until(lambda: len(listener.connections) == 1)
        assert (await server.get("/health", {})).status == 200
        assert listener.refused_count == 6
        two[1].close()


async def test_silent_connections_above_the_limit_are_refused_at_once_after_a_few() -> None:
    async with run_server(make_config(MAX_CONNECTIONS="1")) as server:
        held = [await send_raw(server, b"") for _ in range(17)]
        listener = server.server.listener
        await wait_until(lambda: len(listener.connections) == 17)
        reader, writer = await send_raw(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
        for _, each in (*held, (reader, writer)):
            each.close()


async def test_a_drained_server_above_the_limit_says_so() -> None:
    async with run_server(make_config(MAX_CONNECTIONS="1")) as server:
        _, writer = await send_raw(server, b"")
        await wait_until(lambda: len(server.server.listener.connections) == 1)
        server.server.context.active.draining = True
        answer = await server.get("/health", {})
        assert (answer.status, await answer.json()) == (503, {"status": "draining"})
        writer.close()


def test_connections_are_limited_by_file_descriptors() -> None:
    assert limit_connections(10_000, 1 << 20) == 10_000
    assert limit_connections(10_000, 1024) == 480
    assert limit_connections(0, 1024) == 480
    assert limit_connections(5, 10) == 1
    assert limit_connections(10_000, resource.RLIM_INFINITY) == 10_000
    assert limit_connections(0, resource.RLIM_INFINITY) > 1 << 30


@pytest.mark.parametrize(
    "data",
    [b"", b"POST /llm", HEAD, HEAD + b"X-ClientId: " + CLIENT_ID.encode()],
    ids=["nothing", "half a line", "half a head", "an open line"],
)
async def test_missing_headers_end_the_connection(data: bytes) -> None:
    async with run_server(make_config(HEADER_TIMEOUT="0.1")) as server:
        reader, writer = await send_raw(server, data)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_slow_headers_have_the_same_timeout() -> None:
    async with run_server(make_config(HEADER_TIMEOUT="0.2")) as server:
        _reader, writer = await send_raw(server, HEAD)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                while True:
                    writer.write(b"X: y\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.02)
        writer.close()


async def test_a_slow_body_times_out_and_leaves_nothing_behind() -> None:
    async with run_server(make_config(BODY_TIMEOUT="0.2")) as server:
        kept = server.server.context.body_budget
        before = len(asyncio.all_tasks())
        _reader, writer = await send_raw(server, HEAD + b"Content-Length: 1000\r\n\r\n{")
        await wait_until(lambda: kept.reserved == 1)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.02)
        writer.close()
        await wait_until(lambda: kept.reserved == 0 and len(asyncio.all_tasks()) == before)


@pytest.mark.parametrize("chunked", [False, True])
async def test_br_10_a_body_that_never_stands_still_is_taken(chunked: bool) -> None:
    """It takes several times BODY_TIMEOUT."""
    body = json.dumps({"engine": "demo", "model": "demo-chat", "stream": False, "prompt": "h" * 300}).encode()
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    async with run_server(make_config(BODY_TIMEOUT="0.4", DEMO_ENABLED="true")) as server:
        reader, writer = await send_raw(server, CHAT_HEAD + length + b"\r\n\r\n")
        for at in range(0, len(body), 20):
            piece = body[at : at + 20]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            await asyncio.sleep(0.06)
        writer.write(b"0\r\n\r\n" if chunked else b"")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("piece", [b"", b" "], ids=["stands still", "trickles"])
async def test_br_10_a_body_that_does_not_come_is_408_and_a_log_line(
    piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[str] = []
    monkeypatch.setattr(log, "write", lambda event, *_, **fields: problems.append(str(fields.get("problem"))))
    async with run_server(make_config(BODY_TIMEOUT="0.3")) as server:
        reader, writer = await send_raw(server, CHAT_HEAD + b"Content-Length: 100000\r\n\r\n{")

        async def trickle() -> None:
            with suppress(ConnectionError):
                while piece:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.05)

        sending = asyncio.create_task(trickle())
        async with asyncio.timeout(10):
            answer = await reader.read()
        sending.cancel()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") and b"BODY_TIMEOUT" in answer
    assert any(problem.startswith("The body of POST /llm/chat stood still") for problem in problems)


@pytest.mark.parametrize("size", [200_000, 3_000_000])
async def test_br_12_a_refused_upload_goes_on_until_its_client_has_read_the_413(size: int) -> None:
    """The client reads nothing before it has sent everything, which takes longer than a usual linger."""
    async with run_server(make_config(MAX_BODY_SIZE="10KB")) as server:
        reader, writer = await send_raw(server, CHAT_HEAD + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(24):
            writer.write(b"x" * (size // 24))
            await writer.drain()
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
            assert await reader.read()
        writer.close()


async def test_a_client_that_leaves_during_its_body_leaves_nothing_behind() -> None:
    async with run_server(make_config()) as server:
        kept = server.server.context.body_budget
        before = len(asyncio.all_tasks())
        _, writer = await send_raw(server, HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
        await wait_until(lambda: kept.reserved == 50_000)
        writer.transport.abort()
        await wait_until(lambda: kept.reserved == 0 and len(asyncio.all_tasks()) == before)


async def test_headers_are_limited_in_size() -> None:
    async with run_server(make_config(MAX_HEADER_SIZE="8KB")) as server:
        for head in (b"X: " + b"y" * 10_000 + b"\r\n", b"X: y\r\n" * 2000):
            reader, writer = await send_raw(server, HEAD + head + b"X-ClientId: " + CLIENT_ID.encode() + b"\r\n\r\n")
            async with asyncio.timeout(5):
                answered, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 431 ") and b"\r\nConnection: close" in answered
            assert (json.loads(body)["code"], "MAX_HEADER_SIZE" in json.loads(body)["error"]) == ("too_large", True)
            writer.close()
        assert (await server.get("/llm/engines", {**CLIENT, "X": "y" * 7000})).status == 200


async def test_a_client_that_reads_nothing_is_disconnected_and_its_provider_too() -> None:
    hung_up = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(OPENAI.head)
        try:
            while True:
                await connection.chunk(OPENAI.delta("x" * 10_000))
        finally:
            hung_up.set()

    async with run_in_front_of(script, CLIENT_TIMEOUT="0.4") as server:
        answer = await server.send("POST", "/llm/chat", CHAT, {**CLIENT, "Accept": "application/x-ndjson"}, limit=1024)
        async with asyncio.timeout(20):
            await hung_up.wait()
        await wait_until(lambda: not len(server.server.context.concurrency) and not len(server.server.context.active))
        answer.close()


async def test_an_unread_answer_is_discarded_after_a_timeout() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(OPENAI.whole("x" * (24 << 20)))

    async with run_in_front_of(script, CLIENT_TIMEOUT="0.4") as server:
        answer = await server.send("POST", "/llm/chat", {**CHAT, "stream": False}, CLIENT, limit=1024)
        listener = server.server.listener
        await wait_until(lambda: any(connection.unsent for connection in listener.connections))
        async with asyncio.timeout(20):
            while listener.connections:
                await asyncio.sleep(0.01)
        answer.close()


async def test_a_slow_client_that_reads_is_served() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(OPENAI.whole("x" * (8 << 20)))

    async with run_in_front_of(script, CLIENT_TIMEOUT="0.4") as server:
        small = socket.create_connection(("127.0.0.1", server.port))
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        reader, writer = await asyncio.open_connection(sock=small, limit=16 << 10)
        body = json.dumps({**CHAT, "stream": False}).encode()
        writer.write(HEAD + b"X-ClientId: %b\r\nContent-Length: %d\r\n\r\n" % (CLIENT_ID.encode(), len(body)) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        left = int(head.partition("Content-Length: ")[2].partition("\r\n")[0])
        pauses = 0
        while left and (some := await reader.read(256 << 10)):
            left -= len(some)
            if pauses < 75:  # several times the client timeout
                pauses += 1
                await asyncio.sleep(0.02)
        assert left == 0
        writer.close()


# --- bodies ---


async def test_bodies_without_client_id_share_a_budget_that_does_not_limit_clients() -> None:
    async with run_in_front_of(HeldStreams(), MAX_KEPT_BODIES="1MB") as server:
        kept = server.server.context.body_budget
        _, writer = await send_raw(server, HEAD + b"Content-Length: 2000000\r\n\r\n" + b" " * 900_000)
        await wait_until(lambda: kept.reserved == 900_000)
        large = b'{"openaiKey": "sk-own-canary-2", "prompt": "' + b"x" * 400_000 + b'", "engine": "openai"}'
        for path, body in (("/llm/chat", large), ("/v1/messages", large), ("/llm/engines", large)):
            answer = await server.request("POST", path, body, {})
            assert answer.status == 429, path
            assert "MAX_KEPT_BODIES" in (await answer.body()).decode()
        assert kept.reserved == 900_000
        assert (await server.request("POST", "/llm/engines", large, {})).status == 429
        assert (await server.request("POST", "/llm/engines", large, CLIENT)).status == 200
        writer.transport.abort()
        await wait_until(lambda: kept.reserved == 0)
        assert (await server.request("POST", "/llm/engines", large, {})).status == 200
        await wait_until(lambda: kept.reserved == 0)


async def test_a_body_without_client_id_counts_until_its_answer_has_ended() -> None:
    held = HeldStreams()
    async with run_in_front_of(held) as server:
        kept = server.server.context.body_budget
        body = {**CHAT, "openaiKey": "sk-own-canary-3"}
        answer = await server.post("/llm/chat", body, {})
        assert answer.status == 200 and kept.reserved == len(json.dumps(body))
        held.released.set()
        await answer.body()
        await wait_until(lambda: kept.reserved == 0)


async def test_open_routes_accept_small_bodies_only() -> None:
    async with run_server(make_config()) as server:
        for path, handler, _ in ROUTES:
            if handler.access == "open" and "(" not in path:
                path = path.replace("\\", "")
                answer = await server.request("POST", path, b"{" + b" " * MAX_OPEN_BODY + b"}", {})
                assert answer.status == 413, path
        assert BaseHandler.access != "open"


DEEP = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
TOO_DEEP = DEEP.replace(b"[]", b"[[]]")
ODD = {
    "too deep": TOO_DEEP,
    "deeper than the stack": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects too deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "an infinite number": b'{"a": 1e999}',
    "a number of 10,000 digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "too many values": b'{"a": [' + b"0," * MAX_VALUES + b"0]}",
    "too many texts": b'{"a": [' + b'"",' * MAX_VALUES + b"0]}",
    "too many lists": b'{"a": [' + b"[]," * MAX_VALUES + b"0]}",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
async def test_a_harmful_body_is_refused(body: bytes) -> None:
    async with run_server(make_config()) as server:
        for path in ("/llm/chat", "/v1/messages", "/auth/verify"):
            answer = await server.post(path, body)
            assert answer.status == (413 if path == "/auth/verify" and len(body) > MAX_OPEN_BODY else 400), path
            assert "body" in (await answer.body()).decode()


EDGES = {
    "as deep as may be": DEEP,
    "a number of 4,000 digits": b'{"a": ' + b"9" * 4000 + b"}",
    "a name twice": b'{"model": "a", "model": "b"}',
    "half a character": rb'{"\ud800": "\udfff", "model": "\ud800", "prompt": "\udc00", "engine": "\ud801"}',
    "NUL": rb'{"\u0000": "\u0000", "model": "openai/\u0000", "prompt": "\u0000", "engine": "openai"}',
    "line ends in names": rb'{"\r\nX-Evil: 1": 1, "model": "openai/m\r\nX-Evil: 1", "prompt": "x", "engine": "openai"}',
}


@pytest.mark.parametrize("odd", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("path", COUNTED_BODIES)
async def test_an_odd_body_is_served_or_refused_and_never_a_500(path: str, odd: bytes) -> None:
    """Sends the odd value alone, in place of each field of a valid body, and as an additional field."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "No."}}, 400)

    async with run_in_front_of(script) as server:
        parsed = json.loads(odd)
        bodies = [
            odd,
            json.dumps({**COUNTED_BODIES[path], **parsed}).encode(),
            json.dumps({**parsed, **COUNTED_BODIES[path]}).encode(),
        ]
        bodies += [
            json.dumps({**COUNTED_BODIES[path], name: value}).encode()
            for name in COUNTED_BODIES[path]
            for value in parsed.values()
        ]
        for body in bodies:
            answer = await server.post(path, body)
            assert answer.status in (400, 404, 501), (answer.status, body[:200], await answer.body())
            assert "X-Evil" not in answer.headers
            await answer.body()
            answer.close()


def test_commas_in_strings_are_not_counted_as_values() -> None:
    check_values(json.dumps({"a": ",[{" * MAX_VALUES, "b": '\\",' * 1000}).encode())
    with pytest.raises(InvalidRequest, match="values"):
        check_values(b'{"a": "' + b"," * 1000 + b'", "b": [' + b"1," * MAX_VALUES + b"1]}")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (8 << 20),
        b'"",' * (3 << 20),
        b"," * MAX_VALUES + b'"\\' * (4 << 20),
        b"," * MAX_VALUES + b'\\"' * (4 << 20),
    ],
    ids=["lists", "texts", "a text without end", "a text without end, one on"],
)
def test_o3_values_are_counted_in_bounded_time(body: bytes) -> None:
    with limit_processor_time(), suppress(InvalidRequest):
        check_values(body)
