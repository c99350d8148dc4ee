"""A WebSocket upgrade where none is served: 426, after which clients ask by HTTP at once."""

from __future__ import annotations

from typing import Any, Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from handlers import ROUTES
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Answer, make_config, run_server

UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
POSTED: Final = [path for path, handler, _ in ROUTES if "GET" not in handler.methods and "(" not in path]


OFF: Final = {"MAX_WEBSOCKETS": "0"}


async def check(answer: Answer) -> Any:
    assert answer.status == 426
    assert (answer.headers["Upgrade"], answer.headers["Connection"]) == ("HTTP/1.1", "Upgrade")
    return await answer.json()


@pytest.mark.parametrize("path", POSTED)
@pytest.mark.parametrize("value", ["websocket", "WebSocket", "foo, websocket"])
async def test_an_upgrade_is_answered_426_and_the_connection_serves_the_next_request(path: str, value: str) -> None:
    async with run_server(make_config(**OFF)) as server:
        with server.reuse_connection() as client:
            await check(await client.get(path, {**UPGRADE, "Upgrade": value}))
            assert (await client.get("/health", {})).status == 200


@pytest.mark.parametrize("case", ["cl-08", "gw-16"])
async def test_cl_08_gw_16_the_attempt_of_codex(case: str) -> None:
    found = field_case(case)
    request = found.get("request") or {}
    path = request.get("path") or found["endpoint"]
    given = request.get("headers") or found["request_headers"]
    headers = {name: value.replace("CLIENT-ID", CLIENT_ID) for name, value in given.items()}
    async with run_server(make_config(**OFF)) as server:
        body = await check(await server.get(path, headers))
    assert body["error"]["message"] == f"There is no WebSocket at {path}: send the request by HTTP POST."
    assert body["error"]["code"] == "bad_request"


@pytest.mark.parametrize("headers", [CLIENT, {}])
@pytest.mark.parametrize("version", [None, "8", "99"])
async def test_gw_16_an_upgrade_of_another_version_is_426_where_there_is_a_websocket(
    version: str | None, headers: dict[str, str]
) -> None:
    given = {**UPGRADE, **headers, "Sec-WebSocket-Version": version}
    async with run_server(make_config()) as server:
        answer = await server.get("/v1/responses", {name: value for name, value in given.items() if value})
    assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13")


@pytest.mark.parametrize("key", ["", "x", "dGhlIHNhbXBsZQ=="])
async def test_a_key_that_is_none_is_refused(key: str) -> None:
    async with run_server(make_config()) as server:
        answer = await server.get("/v1/responses", {**UPGRADE, **CLIENT, "Sec-WebSocket-Key": key})
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "Sec-WebSocket-Key")


async def test_a_websocket_client_sees_the_status() -> None:
    async with run_server(make_config(**OFF)) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{server.port}/v1/responses"):
                pass
    assert caught.value.response.status_code == 426


@pytest.mark.parametrize("value", ["h2c", "TLS/1.0", ""])
async def test_other_upgrades_are_ignored(value: str) -> None:
    async with run_server(make_config()) as server:
        headers = {"Connection": "Upgrade", "Upgrade": value}
        assert (await server.get("/v1/responses", headers)).status == 405
        assert (await server.get("/health", headers)).status == 200


@pytest.mark.parametrize("path", [path for path in POSTED if path != "/v1/responses"])
async def test_the_other_paths_have_no_websocket(path: str) -> None:
    async with run_server(make_config()) as server:
        await check(await server.get(path, {**UPGRADE, **CLIENT}))


async def test_a_path_that_is_not_there_stays_404_and_get_stays_get() -> None:
    async with run_server(make_config()) as server:
        assert (await server.get("/v1/realtime", UPGRADE)).status == 404
        assert (await server.get("/health", UPGRADE)).status == 200
