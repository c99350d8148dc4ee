"""Attacks by requests: without credentials, with unusual paths and headers, and request smuggling (X2)."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from handlers import ROUTES
from tests.support.harness import CLIENT_ID, Client, make_config, run_server
from tests.support.one_answer import ask
from tests.support.paths import ROOT
from tests.support.smuggling import SMUGGLING, VALID
from tests.support.work import limit_processor_time

SERVER_KEY = "sk-server-canary-x2"
PATHS = {pattern.replace("([^/]+)", "openai").replace("\\", ""): handler for pattern, handler, _ in ROUTES}
CLOSED = [path for path, handler in PATHS.items() if handler.access != "open"]
ALLOWED = {"400", "401", "404", "405"}


@pytest.fixture
async def server() -> AsyncIterator[Client]:
    """Runs a server with short timeouts, so that every connection ends and all responses can be read."""
    patience = {"HEADER_TIMEOUT": "0.2", "BODY_TIMEOUT": "0.2"}
    async with run_server(
        make_config(OPENAI_API_KEY=SERVER_KEY, CORS_ORIGINS="https://app.example", **patience)
    ) as running:
        yield running


async def told(server: Client, *requests: bytes) -> list[str]:
    """Returns the statuses of all responses to these bytes; none if the connection is closed without a response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    raw = b""
    try:
        async with asyncio.timeout(5):
            for request in requests:
                writer.write(request)
            await writer.drain()
            while some := await reader.read(1 << 16):
                raw += some
    except ConnectionError:
        pass
    finally:
        writer.close()
    for secret in (SERVER_KEY, CLIENT_ID):
        assert secret.encode() not in raw
    assert b"Traceback" not in raw
    return re.findall(r"HTTP/1\.1 (\d{3}) [A-Z]", raw.decode("latin-1"))


def request(path: str, *headers: str, method: str = "POST", body: str = "{}") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join((*lines, "", body)).encode("latin-1")


def disguised(path: str) -> list[str]:
    """Returns other spellings of the same path."""
    first, _, rest = path[1:].partition("/")
    return [
        f"/{path}", f"//127.0.0.1{path}", f"/.{path}", f"/x/..{path}", f"/%2e%2e{path}", f"/images/..{path}",
        f"/images/%2e%2e{quote(path, safe='')}", f"/{quote(path[1:], safe='')}", f"/%{ord(first[0]):02x}{path[2:]}",
        f"http://127.0.0.1{path}", f"http://localhost{path}", f"https://127.0.0.1:1{path}", f"{path}/", f"{path}//", f"{path}%00",
        f"{path};a=b", f"{path}?clientId={CLIENT_ID}", f"{path}?X-ClientId={CLIENT_ID}", f"{path}#x", f"{path}%20", f"{path}.json",
        path.upper(), path.replace("/", "\\"), path.replace("/", "%5c"), f"/health{path}", f"/health/..{path}", f"/health;{path}",
        f"/{first}%2f{rest}", f"{path}%0d%0aX-ClientId:%20me", f"/chat.js{path}", f"/chat.js/../{path[1:]}",
    ]  # fmt: skip


HEADERS: tuple[tuple[str, ...], ...] = (
    ("X-Original-URL: /health", "X-Rewrite-URL: /health", "X-Forwarded-Prefix: /health"),
    ("X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=localhost;proto=https"),
    ("X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "X-Scheme: https", "Via: 1.1 localhost"),
    ("X-HTTP-Method-Override: GET", "X-HTTP-Method: OPTIONS", "X-Method-Override: HEAD"),
    ("X-ClientId: *",),
    ("X-ClientId: ",),
    ("X-ClientId: null", "X-ClientId: undefined"),
    (f"X-ClientId: {CLIENT_ID}x", f"X-ClientId: x{CLIENT_ID}"),
    (f"X-ClientId: {CLIENT_ID.upper()}",),
    (f"X-ClientId: {CLIENT_ID[:-1]}",),
    (f"X-ClientId: {CLIENT_ID},{CLIENT_ID}",),
    (f"X-ClientId: wrong,{CLIENT_ID}", "X-ClientId: wrong"),
    (f"Authorization: Bearer {CLIENT_ID}", f"Authorization: Bearer {CLIENT_ID}"),
    (f"Authorization: Bearer Bearer {CLIENT_ID}",),
    (f"Authorization: {CLIENT_ID} x",),
    (f"Authorization: Basic {CLIENT_ID}", "Proxy-Authorization: Bearer x"),
    (f"Cookie: X-ClientId={CLIENT_ID}; clientId={CLIENT_ID}",),
    (f"X_ClientId: {CLIENT_ID}", f"XClientId: {CLIENT_ID}", f"HTTP_X_CLIENTID: {CLIENT_ID}"),
    ("X-OpenAI-Key: ", "X--Key: x", "X-Nobody-Key: sk-canary-nobody"),
    ("Authorization: Bearer \xff\xfe", "X-ClientId: \x80"),
    ("Origin: https://evil.example", "Referer: http://127.0.0.1/"),
    ("Connection: X-ClientId", "TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
)  # fmt: skip
LARGE = (
    ("X-ClientId: " + "y" * 60_000,),
    ("X-ClientId: " + "y" * 70_000,),
    tuple(f"X-{n}: y" for n in range(4000)),
    tuple("X: y" for _ in range(4000)),
    ('Content-Type: multipart/form-data; boundary="' + ";" * 60_000,),
    ("Accept: " + "a/b," * 15_000,),
    ("Authorization: " + "Bearer " * 8000,),
)


async def test_x2_no_spelling_of_a_path_is_served_without_credentials(server: Client) -> None:
    for path in CLOSED:
        for odd in disguised(path):
            statuses = await told(server, request(odd, method="GET" if "GET" in PATHS[path].methods else "POST"))
            assert len(statuses) <= 1 and {*statuses} <= ALLOWED, (odd, statuses)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_x2_no_method_is_served_without_credentials(server: Client, method: str) -> None:
    for path in ("/llm/chat", "/v1/models", "/thread"):
        for odd in (path, *disguised(path)):
            statuses = await told(server, request(odd, method=method))
            allowed = {"204"} if method == "OPTIONS" else ALLOWED  # a CORS preflight, which needs no credentials
            assert len(statuses) <= 1 and {*statuses} <= allowed | {"400"}, (odd, statuses)


async def test_x2_no_header_opens_a_route_without_credentials(server: Client) -> None:
    for path, headers in ((path, headers) for path in CLOSED for headers in HEADERS):
        statuses = await told(server, request(path, *headers, method="GET" if "GET" in PATHS[path].methods else "POST"))
        assert len(statuses) <= 1 and {*statuses} <= ALLOWED, (path, headers, statuses)


@pytest.mark.parametrize("path", ["/llm/chat", "/v1/audio/transcriptions", "/v1/models"])
@pytest.mark.parametrize("headers", LARGE, ids=lambda headers: headers[0][:20])
async def test_x2_large_headers_are_refused_with_bounded_work(
    server: Client, path: str, headers: tuple[str, ...]
) -> None:
    with limit_processor_time():
        assert {*await told(server, request(path, *headers))} <= ALLOWED | {"431"}


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1:1", "[::1]", "a b", "x/../", "\xff", "a, b"])
async def test_x2_the_host_header_has_no_effect(server: Client, host: str) -> None:
    line = f"GET /llm/engines HTTP/1.1\r\nHost: {host}\r\n"
    assert {*await told(server, f"{line}Connection: close\r\n\r\n".encode("latin-1"))} <= {"400", "401"}
    assert {*await told(server, f"{line}Host: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("latin-1"))} <= {
        "400",
        "401",
    }


async def test_x2_another_origin_gets_no_permission(server: Client) -> None:
    for origin in ("https://evil.example", "null", "https://app.example.evil.example", "http://app.example"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await server.request("OPTIONS", "/llm/chat", None, headers)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], origin


INNER = f"GET /llm/engines HTTP/1.1\r\nHost: x\r\n{VALID}\r\n".encode()


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING)
async def test_x2_an_ambiguous_request_is_refused(server: Client, data: str) -> None:
    """The request has valid credentials, so that it would be served; what follows it is not served either."""
    assert {*await told(server, data.encode("latin-1"), INNER)} <= {"400", "501", "505"}
    assert len(await told(server, data.encode("latin-1"), INNER)) <= 1


async def test_x2_a_request_inside_a_refused_body_is_not_served(server: Client) -> None:
    """A refusal before the end of the body closes the connection: the rest is not parsed."""
    for length, refused in ((len(INNER), ["401"]), (1 << 30, ["413"])):
        head = f"POST /llm/engines HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        assert await told(server, head, INNER) in (refused, [])


async def test_x2_each_request_of_a_connection_is_authorized(server: Client) -> None:
    """Credentials of one request do not authorize the next one of the connection."""
    stranger = b"GET /llm/engines HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await told(server, INNER, stranger, INNER, stranger) == ["200", "401", "200", "401"]


@pytest.mark.parametrize("target", ["*", "127.0.0.1:22", "http://127.0.0.1:22/", "/llm/engines"])
async def test_x2_the_server_is_not_an_open_proxy(server: Client, target: str) -> None:
    lines = [
        f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
        for method in ("CONNECT", "TRACE", "TRACK", "PROPFIND", "get", "GET")
    ]
    asked = [f"{line}\r\n" for line in lines]
    asked += [f"{line}{VALID}\r\n" for line in lines if not line.startswith("GET /llm/engines ")]
    statuses = await asyncio.gather(*(told(server, request.encode()) for request in asked))
    for request, seen in zip(asked, statuses, strict=True):
        own_page = request.startswith("GET http://127.0.0.1:22/ ")  # the absolute form of this server's own "/"
        assert {*seen} <= ALLOWED | ({"200"} if own_page else set()), request


# --- SQL ---


RUNS = ("execute", "executemany", "executescript")


def _is_fixed(node: ast.expr, fixed: set[str]) -> bool:
    """True for a string that is constant in the source."""
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            return name in fixed
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _is_fixed(left, fixed) and _is_fixed(right, fixed)
    return False


def unfixed_sql(source: str) -> list[int]:
    """Returns the lines that run SQL which is not a constant of the source."""
    lines = []
    for scope in ast.walk(ast.parse(source)):
        if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            continue
        names: dict[str, list[ast.expr]] = {}
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
        fixed = {name for name, values in names.items() if all(_is_fixed(value, set()) for value in values)}
        for node in ast.walk(scope):
            run = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNS
            if run and not _is_fixed(node.args[0], fixed):  # type: ignore[attr-defined]
                lines.append(node.lineno)  # type: ignore[attr-defined]
    return sorted(set(lines))


def test_x2_sql_has_bound_parameters_only() -> None:
    found = {}
    for path in [*(ROOT / "llm").rglob("*.py"), *(ROOT / "handlers").rglob("*.py"), ROOT / "server.py"]:
        source = path.read_text()
        lines = {source.splitlines()[line - 1].strip() for line in unfixed_sql(source)} if "execute" in source else None
        if lines:
            found[path.name] = lines
    # The migrations, which are constants, and our own number: a pragma has no parameters.
    assert found == {
        "database.py": {"connection.execute(statement)", 'connection.execute(f"PRAGMA user_version = {number + 1:d}")'}
    }


def test_the_sql_lint_finds_unfixed_sql() -> None:
    assert unfixed_sql("def f(c, id):\n q = 'SELECT 1'\n c.execute(q)\n c.execute('SELECT ?' ' ', (id,))") == []
    for bad in ("f'SELECT {id}'", "'SELECT ' + id", "'SELECT %s' % id", "'SELECT {}'.format(id)", "id", "query(id)"):
        assert unfixed_sql(f"def f(c, id):\n c.execute({bad})") == [2], bad
    assert unfixed_sql("def f(c, id):\n q = 'SELECT 1'\n q = q + id\n c.executescript(q)") == [4]


# --- names of dropped fields, which clients choose ---

HOSTILE_NAMES = {
    "a\r\nX-Evil: 1": "a??X-Evil: 1",
    "größe": "gr??e",
    "模型": "??",
    "a, b": "a? b",
    "x" * 5000: "x" * 100,
}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_names_of_dropped_fields_are_safe_in_a_header(stream: bool) -> None:
    candidate = {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    answer = {"candidates": [candidate], "usageMetadata": usage}
    fields: dict[str, Any] = dict.fromkeys(HOSTILE_NAMES, 1)
    seen = await ask("ollama", "google/gemini-3.5-flash", answer, stream=stream, **fields)
    assert seen.status == 200 and "X-Evil" not in seen.headers
    assert seen.headers["X-Dropped-Fields"] == ", ".join(HOSTILE_NAMES.values())
    many: dict[str, Any] = {f"x_{n}": n for n in range(1000)}
    seen = await ask("ollama", "google/gemini-3.5-flash", answer, stream=stream, **many)
    assert seen.headers["X-Dropped-Fields"].split(", ") == [*[*many][:100], "..."]


async def test_names_inside_of_messages_are_safe_in_a_header() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "Hi", **dict.fromkeys(HOSTILE_NAMES, 1)}]}
    done = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True, "done_reason": "stop"}
    seen = await ask("openai-chat", "ollama/m", done, stream=False, messages=[message])
    assert seen.status == 200
    assert {*HOSTILE_NAMES.values()} <= {*seen.headers["X-Dropped-Fields"].split(", ")}
