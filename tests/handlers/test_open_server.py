"""With ``AUTHORIZED_CLIENT_ID=*`` pages of other origins and foreign host names are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.harness import Client, make_config, run_server
from tests.test_security import TEXT

CHAT = {"engine": "demo", "model": "demo-chat", "prompt": "Hi", "stream": False}


async def ask(
    server: Client, headers: dict[str, str], host: str = "", method: str = "POST", path: str = "/llm/chat"
) -> tuple[int, Any]:
    body = CHAT if method == "POST" else None
    if host:  # the absolute form replaces the header Host
        path = f"http://{host}{path}"
    answer = await server.request(method, path, body, headers)
    return answer.status, await answer.body()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "https://app.example"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://elsewhere.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"}, 200),
    ],
)
async def test_pages_of_other_origins_are_refused(headers: dict[str, str], status: int) -> None:
    async with run_server(make_config(AUTHORIZED_CLIENT_ID="*", CORS_ORIGINS="https://app.example")) as server:
        headers = {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}
        assert (await ask(server, headers))[0] == status
    async with run_server(make_config()) as server:  # with client ids the page would need one
        headers = {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}
        assert (await ask(server, headers))[0] == 401


async def test_any_origin_may_where_the_setting_says_so() -> None:
    async with run_server(make_config(AUTHORIZED_CLIENT_ID="*", CORS_ORIGINS="*")) as server:
        assert (await ask(server, {"Origin": "https://any.example"}))[0] == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/llm/chat"])
async def test_the_refusal_is_in_the_form_of_the_api(path: str) -> None:
    async with run_server(make_config(AUTHORIZED_CLIENT_ID="*")) as server:
        status, body = await ask(server, {"Origin": "https://evil.example"}, path=path)
        assert status == 403 and b"evil.example" in body and body.startswith(b"{")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:3000", "[::1]:3000", "192.168.1.5", "localhost", "llm-server:3000", "a.localhost",
     "nas.local", "x.home.arpa", "llm.corp.internal", "public.example", "PUBLIC.example.:80", "app.example"],
)  # fmt: skip
async def test_names_of_this_server_are_taken(host: str) -> None:
    environ = {
        "AUTHORIZED_CLIENT_ID": "*",
        "PUBLIC_URL": "https://public.example/x",
        "CORS_ORIGINS": "https://app.example",
    }
    async with run_server(make_config(**environ)) as server:
        assert (await ask(server, {}, host))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:3000", "0.0", "evil.example."]
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/llm/chat"), ("GET", "/llm/engines"), ("GET", "/thread")])
async def test_a_foreign_name_is_refused_for_each_method(host: str, method: str, path: str) -> None:
    async with run_server(make_config(AUTHORIZED_CLIENT_ID="*")) as server:
        status, body = await ask(server, {}, host, method, path)
        assert status == 403 and b"PUBLIC_URL" in body
        assert (await ask(server, {}, host, "GET", "/health"))[0] == 200
    async with run_server(make_config()) as server:
        assert (await ask(server, {}, host, method, path))[0] == 401


def test_the_page_about_security_says_so() -> None:
    assert "DNS rebinding" in TEXT
