"""Client ids in paths, for apps that can send no header."""

from __future__ import annotations

import logging
from urllib.parse import quote

import ollama
import pytest

from tests.support.harness import CLIENT_ID, Client, make_config, run_server

HERE = f"/c/{CLIENT_ID}"
ODD_ID = "an id/with ?odd%characters&ü"


async def get(server: Client, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, str]:
    answer = await server.request(method, path, None, headers or {})
    return answer.status, "" if method == "HEAD" else (await answer.body()).decode()


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models", "/llm/engines", "/v1/models/demo/demo-chat"])
async def test_an_id_in_the_path_is_read_where_the_setting_allows_it(path: str) -> None:
    async with run_server(make_config(PATH_IDS="true")) as server:
        assert (await get(server, HERE + path))[0] == 200
        assert (await get(server, f"{HERE}x{path}"))[0] == 401
        assert (await get(server, path))[0] == 401
        assert (await get(server, HERE + path, {"Authorization": "Bearer ollama"}))[0] == 200
        assert (await get(server, f"/c/wrong{path}", {"X-ClientId": CLIENT_ID}))[0] == 200
        assert (await get(server, f"/c/{path}"))[0] == 401
    async with run_server(make_config()) as server:
        assert (await get(server, HERE + path))[0] == 404
        assert (await get(server, HERE + path, {"X-ClientId": CLIENT_ID}))[0] == 404


async def test_an_id_may_be_quoted() -> None:
    async with run_server(make_config(PATH_IDS="true", AUTHORIZED_CLIENT_ID=ODD_ID)) as server:
        assert (await get(server, f"/c/{quote(ODD_ID, safe='')}/api/tags"))[0] == 200


async def test_the_root_below_an_id_is_the_page() -> None:
    async with run_server(make_config(PATH_IDS="true")) as server:
        assert await get(server, HERE) == await get(server, f"{HERE}/") == await get(server, "/")
        assert (await get(server, f"{HERE}/", method="HEAD"))[0] == 200


@pytest.mark.parametrize("allowed", ["true", "false"])
async def test_the_id_is_in_no_log_line_and_no_error(allowed: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with run_server(make_config(PATH_IDS=allowed)) as server:
        for rest in (
            "/api/tags",
            "/v1/none",
            "/v1/v1/models",
            "/none",
            "/v1/chat/completions",
            "",
            f"/c/{CLIENT_ID}/api/tags",
        ):
            for method in ("GET", "POST", "TRACE"):
                for begin in (HERE, HERE.replace("/c/", "/%63/"), f"http://x{HERE}"):
                    _, text = await get(server, begin + rest, method=method)
                    assert CLIENT_ID not in text
    lines = [str(vars(record)) for record in caplog.records if record.name == "llm"]
    assert len(lines) >= 63
    assert not any(CLIENT_ID in line for line in lines)


async def test_errors_name_what_to_change() -> None:
    async with run_server(make_config()) as server:
        _, text = await get(server, f"{HERE}/api/tags")
        assert "no path /c/<client id>/api/tags. Client ids in paths are not read here (PATH_IDS)." in text
    async with run_server(make_config(PATH_IDS="true")) as server:
        _, text = await get(server, f"{HERE}/chat/completions")
        assert f"set the client's base URL to {server.url}/c/<client id>/v1" in text


async def test_the_ollama_package_needs_nothing_but_the_url() -> None:
    async with run_server(make_config(PATH_IDS="true")) as server:
        async with ollama.AsyncClient(host=f"{server.url}{HERE}") as client:
            answer = await client.chat(model="demo/demo-chat", messages=[{"role": "user", "content": "Hi"}])
            assert answer.message.content
            assert [model.model for model in (await client.list()).models]
