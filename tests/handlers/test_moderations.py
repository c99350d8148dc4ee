"""``/v1/moderations`` behind an engine that answers with something else than a judgement."""

from __future__ import annotations

import pytest

from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server

BODY = {"model": "box/m", "input": "x"}


async def ask(answer: str, content_type: str) -> tuple[int, bytes]:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(answer, content_type=content_type)

    upstream = Upstream(script)
    async with upstream.run():
        environ = {"CUSTOM_ENGINES": "box", "BOX_BASE_URL": upstream.url, "MAX_RETRIES": "0"}
        async with run_server(make_config(**environ)) as server:
            got = await server.post("/v1/moderations", BODY, CLIENT)
            return got.status, await got.body()


@pytest.mark.parametrize("answer", ["<html>hello</html>", "[]", ""])
async def test_what_is_no_judgement_is_a_bad_gateway(answer: str) -> None:
    status, body = await ask(answer, "text/html")
    assert status == 502 and b"upstream_malformed" in body


async def test_a_judgement_passes_byte_for_byte() -> None:
    judged = '{"id": "modr-1",  "results": []}'
    assert await ask(judged, "application/json") == (200, judged.encode())
