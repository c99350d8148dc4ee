"""The servers that are compared: this one, Tornado's own, and nginx as a proxy in front of a plain one."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import tornado
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from handlers.base import Access, BaseHandler
from handlers.ops.not_found import NotFoundHandler
from handlers.router import Route, Router
from handlers.server.listener import Listener
from server import Server, make_context
from tests.support.harness import make_config

NGINX: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 1024 * 1024
PATIENCE: Final = 30.0  # seconds of every timeout
IMPATIENCE: Final = 0.4  # the same for the cases that wait for one
STREAM: Final = (b"one ", b"two ")

_CONFIG: Final = """
daemon off;
master_process off;
pid {folder}/pid;
error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    large_client_header_buffers 2 8k;
    client_max_body_size {max_body};
    client_header_timeout {patience}ms;
    client_body_timeout {patience}ms;
    keepalive_timeout {patience}ms;
    lingering_timeout 1s;
    server {{
        listen 127.0.0.1:{port};
        default_type text/plain;
        proxy_http_version 1.1;
        location = /echo {{
            limit_except GET POST {{ deny all; }}
            proxy_pass http://127.0.0.1:{behind}/echo;
        }}
        location = /stream {{ proxy_pass http://127.0.0.1:{behind}/stream; }}
        location = /empty {{ return 204; }}
        location = /unchanged {{ proxy_pass http://127.0.0.1:{behind}/unchanged; }}
        location / {{ return 404; }}
    }}
}}
"""


class _Echo(BaseHandler):
    """Answers with the method, the query and the body."""

    methods: ClassVar[tuple[str, ...]] = ("GET", "POST")
    access: ClassVar[Access] = "open"
    __slots__ = ("_raw",)

    @property
    def max_body(self) -> int:
        return self.context.config.max_body_size

    def parse_body(self) -> tuple[dict[str, Any], None]:
        self._raw = self.body.take()
        return {}, None

    async def handle(self, body: dict[str, Any]) -> None:
        await answer(self, self._raw)


class _TornadoEcho(RequestHandler):
    """The same for Tornado."""

    async def get(self) -> None:
        await answer(self, self.request.body)

    post = head = get


async def answer(handler: RequestHandler, body: bytes) -> None:
    """Answers a request by its path."""
    handler.set_header("Content-Type", "text/plain")
    method, path, query = handler.request.method, handler.request.path, handler.request.query
    if path == "/empty":
        handler.set_status(204)
    elif path == "/unchanged":
        handler.set_status(304)
    elif path == "/stream":
        for piece in STREAM:
            handler.write(piece)
            await handler.flush()
    else:
        handler.write(f"{method} {query} ".encode("latin-1") + body)


_PATHS: Final = ("/echo", "/stream", "/empty", "/unchanged")


@asynccontextmanager
async def run_ours(patience: float = PATIENCE) -> AsyncIterator[int]:
    """Runs this server with its own routing and handlers, on routes of the tests; yields its port."""
    config = make_config(MAX_HEADER_SIZE=str(MAX_HEAD), MAX_BODY_SIZE=str(MAX_BODY))
    server = Server(make_context(config, None, {}))
    arguments = {"context": server.context}
    routes: list[Route] = [(path, _Echo, arguments) for path in _PATHS]
    listener = Listener(
        Router(routes, (NotFoundHandler, arguments)),
        header_timeout=patience,
        body_timeout=patience,
        client_timeout=PATIENCE,
        max_header_size=MAX_HEAD,
        max_connections=0,
    )
    sockets = bind_sockets(0, "127.0.0.1")
    listener.start(sockets)
    try:
        yield sockets[0].getsockname()[1]
    finally:
        await listener.close()
        await server.stop()


@asynccontextmanager
async def run_tornado(patience: float = PATIENCE) -> AsyncIterator[int]:
    """Runs Tornado's own server; yields its port."""
    server = HTTPServer(
        Application([(path, _TornadoEcho) for path in _PATHS]),
        idle_connection_timeout=patience,
        body_timeout=patience,
        max_header_size=MAX_HEAD,
        max_body_size=MAX_BODY,
    )
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.stop()
        await server.close_all_connections()


@asynccontextmanager
async def run_nginx(folder: Path, patience: float = PATIENCE) -> AsyncIterator[int]:
    """Runs nginx in front of Tornado's server, which sees only what nginx makes of a request; yields its port."""
    assert NGINX is not None
    spare = bind_sockets(0, "127.0.0.1")
    port = spare[0].getsockname()[1]
    spare[0].close()
    async with run_tornado() as behind:
        config = _CONFIG.format(
            folder=folder, port=port, behind=behind, patience=round(patience * 1000), max_body=MAX_BODY
        )
        (folder / "nginx.conf").write_text(config)
        process = await asyncio.create_subprocess_exec(
            NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "/dev/null"
        )
        try:
            async with asyncio.timeout(20):
                while not await _listens(port):
                    await asyncio.sleep(0.02)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def find_versions() -> dict[str, str]:
    """Returns the versions of the other servers that are there."""
    versions = {"Tornado": tornado.version}
    if NGINX is not None:
        shown = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
        match = re.search(r"nginx/([0-9.]+)", shown)
        assert match is not None
        versions["nginx"] = match[1]
    return versions
