"""Authorization of every route, and that no caller can use or see another's key."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from urllib.parse import unquote

import pytest

from handlers import ROUTES
from handlers.ops.not_found import NotFoundHandler
from llm import log
from llm.config.settings import Config
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES, Wire

SERVER_KEY = "sk-server-canary-4711"
OWN_KEY = "sk-own-canary-0815"
BODY = {"engine": "openai", "model": "m", "prompt": "Hi"}


async def answers(request: Request, connection: Connection) -> None:
    wire = WIRES["openai"]
    await connection.stream()
    await connection.chunk(wire.head + wire.delta("Hi") + wire.end)
    await connection.end()


@pytest.mark.parametrize("client_id", [None, "", "wrong", CLIENT_ID], ids=["none", "empty", "wrong", "valid"])
@pytest.mark.parametrize("own", [None, OWN_KEY], ids=["no-own-key", "own-key"])
async def test_a_body_key_never_buys_the_use_of_a_server_key(client_id: str | None, own: str | None) -> None:
    """A vulnerability of the older server: any client id with any body key could use the server's keys."""
    async with Upstream(answers).run() as upstream:
        async with run_server(make_config(OPENAI_API_KEY=SERVER_KEY, OPENAI_BASE_URL=upstream.url)) as server:
            headers = {} if client_id is None else {"X-ClientId": client_id}
            body = BODY if own is None else {**BODY, "openaiKey": own}
            answer = await server.post("/llm/chat", body, headers)
            if client_id != CLIENT_ID and own is None:
                assert answer.status == 401
                assert (await answer.json())["code"] == "unauthorized"
                assert not upstream.requests
                return
            assert answer.status == 200, await answer.body()
            await answer.body()
    [sent] = upstream.requests
    assert sent.headers["Authorization"] == f"Bearer {own or SERVER_KEY}"
    assert OWN_KEY.encode() not in sent.body


@pytest.mark.parametrize("header", [{}, {"X-ClientId": "wrong"}])
async def test_another_engine_s_body_key_opens_nothing_of_the_server(header: dict[str, str]) -> None:
    """A body key for groq gives no access to the server's openai key, its model list or the engine."""
    async with Upstream(answers).run() as upstream:
        environ = {"OPENAI_API_KEY": SERVER_KEY, "OPENAI_BASE_URL": upstream.url, "OLLAMA_ENABLED": "true"}
        async with run_server(make_config(**environ, OLLAMA_BASE_URL=upstream.url)) as server:
            keys = {"groqKey": OWN_KEY, "openaiKey": ""}
            chat = await server.post("/llm/chat", {**BODY, **keys}, header)
            assert (chat.status, (await chat.json())["code"]) == (400, "engine_not_configured")
            for engine in ("openai", "ollama", "demo"):
                assert (await server.post(f"/llm/models/{engine}", keys, header)).status == 400
            engines = await (await server.post("/llm/engines", keys, header)).json()
            assert engines == {"engines": [{"id": "groq", "name": "Groq"}]}
        assert not upstream.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"X-ClientId": CLIENT_ID},
        {"Authorization": f"Bearer {CLIENT_ID}"},
        {"Authorization": CLIENT_ID},
        {"x-api-key": CLIENT_ID},
        {"api-key": CLIENT_ID},
        {"x-goog-api-key": CLIENT_ID},
        {"Authorization": "Bearer ollama", "api-key": CLIENT_ID},
    ],
    ids=["X-ClientId", "Bearer", "bare", "x-api-key", "api-key", "x-goog-api-key", "two"],
)
async def test_the_client_id_is_read_from_every_header_that_clients_use(headers: dict[str, str]) -> None:
    async with run_server(make_config()) as server:
        assert (await server.get("/llm/engines", headers)).status == 200
        wrong = {name: value + "x" for name, value in headers.items()}
        assert (await server.get("/llm/engines", wrong)).status == 401


async def test_own_keys_are_also_read_from_headers() -> None:
    async with Upstream(answers).run() as upstream, run_server(make_config(OPENAI_BASE_URL=upstream.url)) as server:
        for client in CLIENTS.values():
            answer = await server.post(client.path, client.request("openai"), {"X-OpenAI-Key": OWN_KEY})
            assert answer.status == 200
            await answer.body()
    assert {sent.headers["Authorization"] for sent in upstream.requests} == {f"Bearer {OWN_KEY}"}


async def test_a_key_that_would_break_a_header_is_refused() -> None:
    async with run_server(make_config()) as server:
        for bad in ("sk-1\r\nX-Evil: 1", "sk-ключ", "sk\x00"):
            answer = await server.post("/llm/chat", {**BODY, "openaiKey": bad}, {})
            assert answer.status == 400
            assert (await answer.json())["error"] == "openaiKey: contains characters that are not allowed in a key"


async def test_an_open_server_serves_anyone_and_says_so_at_start() -> None:
    from server import format_banner

    opened = make_config(AUTHORIZED_CLIENT_ID="*")
    assert any("anyone" in line for line in format_banner(opened, 3000))
    async with run_server(opened) as server:
        assert (await server.get("/llm/engines", {})).status == 200


async def test_verify_answers_whether_an_id_is_valid() -> None:
    async with run_server(make_config()) as server:
        good = await server.post("/auth/verify", {"clientId": CLIENT_ID}, {})
        assert (good.status, await good.body()) == (200, b"OK")
        for body in ({"clientId": "wrong"}, {"clientId": ""}, {"clientId": None}, {"clientId": [CLIENT_ID]}, {}):
            assert (await server.post("/auth/verify", body, {})).status == 401


METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
HOSTILE: tuple[dict[str, str], ...] = (
    {},
    {"Host": "localhost"},
    {"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Host": "localhost"},
    {"X-HTTP-Method-Override": "GET"},
    {"X-ClientId": "*"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer *"},
    {"Authorization": f"Basic {CLIENT_ID}"},
    {"x-api-key": "null"},
    {"Cookie": f"X-ClientId={CLIENT_ID}"},
)
OPEN = {
    "/",
    "/chat.css",
    "/chat.js",
    "/openapi.json",
    "/llms.txt",
    "/health",
    "/api/hello",
    "/auth/verify",
    "/images/([^/]+)",
}
PATHS = [pattern.replace("([^/]+)", "openai").replace("\\", "") for pattern, _, _ in ROUTES]


async def test_x2_every_route_except_the_open_ones_requires_credentials() -> None:
    assert {pattern.replace("\\", "") for pattern, handler, _ in ROUTES if handler.access == "open"} == OPEN
    odd = [*(path.replace("/llm", "/%6clm") for path in PATHS), *(f"/{path}" for path in PATHS)]
    ways = [  # each unusual spelling of a path is requested with every method and header
        *itertools.product(PATHS, HOSTILE, METHODS),
        *itertools.product(odd, HOSTILE[:1], METHODS),
        *itertools.product(odd, HOSTILE[1:], ("GET", "POST")),
    ]
    async with run_server(make_config(OPENAI_API_KEY=SERVER_KEY)) as server:
        for path, headers, method in ways:
            answer = await server.request(method, path, b"{}" if method == "POST" else None, headers)
            text = await answer.body()
            answer.close()
            is_open = unquote(path) in OPEN
            allowed = (200, 401) if is_open else (401,)
            assert answer.status in (*allowed, 404, 405, 400), (method, path, headers, answer.status)
            if answer.status == 200:
                assert is_open, (method, path, headers)
            assert SERVER_KEY.encode() not in text


def test_the_catch_all_route_does_nothing() -> None:
    assert NotFoundHandler.access == "open"
    assert not any(handler is NotFoundHandler for _, handler, _ in ROUTES)


@pytest.mark.parametrize("header", ["X-ClientId: {}", "Authorization: Bearer {}", "x-api-key: {}"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_client_ids_beyond_ascii_match_in_utf_8_and_latin_1(header: str, encoding: str) -> None:
    own = "clé-de-la-maison-ÿ"
    async with run_server(make_config(AUTHORIZED_CLIENT_ID=f"other-client-id,{own}")) as server:
        for text, status in ((own, b"200"), (own + "é", b"401")):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            lines = b"GET /llm/engines HTTP/1.1\r\nHost: x\r\n" + header.format(text).encode(encoding) + b"\r\n\r\n"
            writer.write(lines)
            assert (await reader.readline()).split()[1] == status
            writer.close()


def test_x3_an_empty_key_is_a_configuration_error_and_the_default_is_loopback() -> None:
    from llm.config.parsers import ConfigError

    assert Config.from_env({}).host == "127.0.0.1"
    for name in ("AUTHORIZED_CLIENT_ID", "OPENAI_API_KEY"):
        for value in ("", "   "):
            with pytest.raises(ConfigError, match=name):
                Config.from_env({name: value})


def test_x3_without_a_configured_client_id_a_random_one_is_generated_at_each_start() -> None:
    one, two = Config.from_env({}), Config.from_env({})
    assert one.client_id_generated and one.client_ids != two.client_ids
    assert all(len(client_id) >= 20 for client_id in one.client_ids)
    assert not one.open_to_all


LEAKY = (
    b'{"error": {"message": "Incorrect API key provided: %s. Try again.", "type": "invalid_request_error", '
    b'"code": "invalid_api_key"}}'
)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@pytest.mark.parametrize("own", [False, True], ids=["server-key", "own-key"])
async def test_x4_no_key_is_in_an_answer_a_header_a_log_line_or_a_url(
    wire: Wire, own: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The provider echoes the key that it received, in an error and in a stream."""
    own = own and wire.engine != "ollama"  # a local engine accepts no caller's key
    key = OWN_KEY if own else SERVER_KEY
    seen = b""

    async def script(request: Request, connection: Connection) -> None:
        if "fail" in request.path or b'"fail"' in request.body:
            await connection.respond(LEAKY % key.encode(), 401, headers={"X-Request-Id": "req-1"})
        else:
            await connection.stream(wire.content_type)
            await connection.chunk(wire.head + wire.delta("Hi") + wire.error.replace(b"It broke.", key.encode()))
            await connection.end()

    async with Upstream(script).run() as upstream:
        environ = {**wire.environ(upstream), f"{wire.engine.upper()}_API_KEY": SERVER_KEY}
        configured = make_config(**environ)
        log.setup(configured.secrets, logging.DEBUG)
        async with run_server(configured) as server:
            for client, model in itertools.product(CLIENTS.values(), ("m", "fail")):
                headers = {f"X-{wire.engine}-Key": OWN_KEY} if own else client.headers
                answer = await server.post(client.path, client.request(wire.engine, model), headers)
                seen += str(answer.headers).encode() + await answer.body()
    printed = capsys.readouterr()
    logging.getLogger().handlers.clear()
    assert len(upstream.requests) == 6
    assert printed.err.count('"event": "request"') == 6
    for text in (seen.decode(), printed.out, printed.err, *(sent.path for sent in upstream.requests)):
        for secret in (SERVER_KEY, OWN_KEY, CLIENT_ID):
            assert secret not in text


async def test_x9_own_keys_are_removed_before_the_body_is_validated() -> None:
    """A schema error cannot quote a key that is no longer in the body."""
    async with run_server(make_config()) as server:
        answer = await server.post("/llm/chat", {"openaiKey": OWN_KEY, "groqKey": {"a": OWN_KEY}, "model": 3}, {})
        assert answer.status == 400
        assert OWN_KEY not in json.dumps(await answer.json())


async def test_a_large_body_is_refused_with_413_before_it_is_sent() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="1MB")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /llm/chat HTTP/1.1\r\nHost: x\r\nX-ClientId: %b\r\nContent-Length: 1000000000\r\n\r\n"
            % CLIENT_ID.encode()
        )
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 413 ")
            assert json.loads(await reader.read())["code"] == "too_large"
        writer.close()
        whole = await server.post("/llm/chat", b"x" * (2 << 20))
        assert whole.status == 413


async def test_a_large_body_without_a_length_is_refused_at_its_end() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="1KB")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /llm/chat HTTP/1.1\r\nHost: x\r\nX-ClientId: {CLIENT_ID}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"500\r\n" + b"x" * 0x500 + b"\r\n0\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        writer.close()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "engine"),
        ({"engine": "demo", "model": "m"}, "prompt"),
        ({"engine": "demo", "model": "m", "prompt": ""}, "prompt"),
        ({"engine": "demo", "model": "m", "prompt": ["x"]}, "prompt"),
        ({"engine": 7, "model": "m", "prompt": "x"}, "engine"),
        ({"engine": "demo", "model": "m", "prompt": "x", "messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"engine": "demo", "model": "m", "prompt": "x", "messages": "x"}, "messages"),
        ({"engine": "demo", "model": "m", "prompt": "x", "options": {"maxToken": 1}}, "options.maxToken"),
        ({"engine": "demo", "model": "m", "prompt": "x", "options": {"maxTokens": "1"}}, "options.maxTokens"),
        ({"engine": "demo", "model": "m", "prompt": "x", "attachment": {}}, "attachment.contents"),
        (
            {
                "engine": "demo",
                "model": "m",
                "prompt": "x",
                "attachment": {"mimeType": "application/zip", "contents": "AA=="},
            },
            "attachment.mimeType",
        ),
        (
            {
                "engine": "demo",
                "model": "m",
                "prompt": "x",
                "attachments": [{"mimeType": "image/png", "contents": "?"}],
            },
            "attachments[0].contents",
        ),
        ({"engine": "demo", "model": "m", "prompt": "x", "tools": ["rm"]}, "tools[0]"),
        ({"engine": "demo", "model": "m", "prompt": "x", "thread": "half \ud83d"}, "thread"),
    ],
)
async def test_an_error_for_bad_input_names_the_field(body: dict[str, object], place: str) -> None:
    async with run_server(make_config()) as server:
        answer = await server.post("/llm/chat", body)
        error = await answer.json()
        assert answer.status == 400
        assert error["error"].startswith(f"{place}: "), error


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000])
async def test_a_body_that_is_not_a_json_object_is_refused(raw: bytes) -> None:
    async with run_server(make_config()) as server:
        for path in ("/llm/chat", "/v1/chat/completions", "/v1/messages"):
            answer = await server.post(path, raw)
            assert answer.status == 400
            assert "body" in json.dumps(await answer.json())
            stranger = await server.post(path, raw, {})
            assert stranger.status == 401
