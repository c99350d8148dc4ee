"""The site file of ``deploy/`` in a real nginx in front of the server: every chunk arrives as it was sent."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.support.harness import CLIENT, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.paths import ROOT
from tests.support.wires import CLIENTS, WIRES, ClientWire

SITE = ROOT / "deploy" / "llm-server.nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed; .ci/run installs it")

CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {site};
}}
"""


@asynccontextmanager
async def behind_nginx(server: Client, folder: Path) -> AsyncIterator[Client]:
    """Yields a client that reaches the server through nginx; only the two ports in the site file are changed."""
    async with Upstream(_unused).run() as spare:
        port = spare.port
    text = SITE.read_text()
    assert "server 127.0.0.1:3000;" in text and "listen 80;" in text
    site = folder / "site.conf"
    site.write_text(
        text.replace("server 127.0.0.1:3000;", f"server 127.0.0.1:{server.port};").replace(
            "listen 80;", f"listen 127.0.0.1:{port};"
        )
    )
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, site=site))
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"
    )
    try:
        async with asyncio.timeout(10):
            while not await _listens(port):
                await asyncio.sleep(0.02)
        yield Client(port, server.server)
    finally:
        process.terminate()
        await process.wait()


async def _unused(request: Request, connection: Connection) -> None:
    raise AssertionError("nobody is meant to call this port")


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_nginx_forwards_each_chunk_before_the_next_is_sent(client: ClientWire, tmp_path: Path) -> None:
    wire = WIRES["openai"]
    heard = asyncio.Semaphore(0)
    words = [f"word{n} " for n in range(20)]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(wire.head)
        for word in words:
            await connection.chunk(wire.delta(word))
            await heard.acquire()
        await connection.chunk(wire.end)
        await connection.end()

    async with Upstream(script).run() as upstream:
        async with (
            run_server(make_config(**wire.environ(upstream))) as server,
            behind_nginx(server, tmp_path) as through,
        ):
            answer = await through.post(client.path, client.request("openai"), client.headers)
            assert answer.headers["Server"].startswith("nginx")
            raw = b""
            waiting = [*words]
            async with asyncio.timeout(20):
                async for chunk in answer.chunks():
                    raw += chunk
                    while waiting and waiting[0].strip().encode() in raw:
                        waiting.pop(0)
                        heard.release()
            answer.close()
    assert client.read(raw).text == "".join(words)


async def test_a_client_that_leaves_nginx_ends_the_provider_s_answer(tmp_path: Path) -> None:
    wire = WIRES["openai"]
    hung_up = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(wire.head + wire.delta("One "))
        await connection.wait_closed()
        hung_up.set()

    async with Upstream(script).run() as upstream:
        async with (
            run_server(make_config(**wire.environ(upstream))) as server,
            behind_nginx(server, tmp_path) as through,
        ):
            answer = await through.post("/llm/chat", CLIENTS["native"].request("openai"), CLIENT)
            async for _ in answer.chunks():
                break
            answer.close()
            async with asyncio.timeout(5):
                await hung_up.wait()


async def test_a_websocket_is_passed_on(tmp_path: Path) -> None:
    async with run_server(make_config()) as server, behind_nginx(server, tmp_path) as client:
        async with connect(f"ws://127.0.0.1:{client.port}/v1/responses", additional_headers=CLIENT) as socket:
            for _ in range(2):
                body = {"type": "response.create", "model": "demo/demo-chat", "input": "Hello"}
                await socket.send(json.dumps(body))
                kinds: list[str] = []
                while not kinds or kinds[-1] != "response.completed":
                    kinds.append(json.loads(await socket.recv())["type"])
        answer = await client.get("/health", {})
        answer.close()
        assert answer.status == 200
