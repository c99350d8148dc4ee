"""HEAD: what GET answers, without its body (RFC 9110, 9.3.2)."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import pytest

from handlers import ROUTES
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Client, make_config, run_server

READABLE: Final = [path for path, handler, _ in ROUTES if "GET" in handler.methods and "(" not in path]
OTHER: Final = [
    "/llm/models/demo",
    "/v1/models/demo/demo-chat",
    "/v1/models/demo/none",
    "/thread/none",
    "/images/x.png",
]
OF_ITS_OWN: Final = ("X-Request-Id", "Request-Id", "Date")  # headers that differ between two requests


async def ask(server: Client, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers and all bytes after the head until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *(f"{n}: {v}" for n, v in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *rest = head.decode("latin-1").split("\r\n")
    found = dict(line.split(": ", 1) for line in rest)
    return int(first.split()[1]), {n.title(): v for n, v in found.items() if n.title() not in OF_ITS_OWN}, body


async def check(server: Client, path: str, headers: dict[str, str]) -> int:
    """Compares the answers of GET and HEAD, and returns their status."""
    got, head = await ask(server, "GET", path, headers), await ask(server, "HEAD", path, headers)
    assert got[2] and not head[2], path
    assert head[:2] == got[:2], path
    assert int(head[1]["Content-Length"]) == len(got[2])
    return head[0]


@pytest.mark.parametrize("path", [*READABLE, *OTHER, "/nothing", "/v1/nothing", "/health/"])
@pytest.mark.parametrize(
    "headers", [CLIENT, {}, {**CLIENT, "anthropic-version": "2023-06-01"}], ids=["id", "no id", "anthropic"]
)
async def test_head_is_get_without_its_body(path: str, headers: dict[str, str]) -> None:
    async with run_server(make_config()) as server:
        assert await check(server, path, headers) in (200, 400, 401, 404)


@pytest.mark.parametrize("path", ["/llm/chat", "/v1/messages", "/v1/responses", "/api/chat"])
async def test_head_of_a_path_without_get_is_refused_as_get_is(path: str) -> None:
    """The sentence of the error names the method, so the lengths differ."""
    async with run_server(make_config()) as server:
        status, headers, body = await ask(server, "HEAD", path, CLIENT)
    assert (status, headers["Allow"], body) == (405, "POST", b"")


async def test_the_answer_to_a_wrong_method_names_head() -> None:
    async with run_server(make_config()) as server:
        answer = await server.post("/api/version", {})
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/api/tags", "/api/version", "/api/hello"])
async def test_gw_17_head_of_what_clients_and_monitors_ask_first(path: str) -> None:
    case = field_case("gw-17")
    async with run_server(make_config()) as server:
        assert path in case["expected"]
        assert await check(server, path, CLIENT) == 200


async def test_gw_17_the_start_probe_of_claude_code_needs_no_id() -> None:
    async with run_server(make_config()) as server:
        assert (await ask(server, "HEAD", "/api/hello", {}))[0] == 200
        assert json.loads((await ask(server, "GET", "/api/hello", {}))[2]) == {"message": "hello"}


async def test_cl_19_head_of_the_root_with_an_id() -> None:
    request: dict[str, Any] = field_case("cl-19")["request"]
    headers = {name: value.replace("CLIENT-ID", CLIENT_ID) for name, value in request["headers"].items()}
    async with run_server(make_config()) as server:
        status, _, body = await ask(server, request["method"], request["path"], headers)
    assert (status, body) == (200, b"")


async def test_br_07_head_of_every_path_of_the_report() -> None:
    async with run_server(make_config()) as server:
        for line in field_case("br-07")["requests"]:
            path = line.split()[1]
            assert await check(server, path, CLIENT) == (404 if path == "/nope" else 200)


async def test_a_drained_server_answers_head_as_get() -> None:
    async with run_server(make_config()) as server:
        server.server.context.active.draining = True
        assert await check(server, "/health", {}) == 503
