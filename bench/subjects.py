"""Who is measured: nginx and a bare Tornado relay as yardsticks, and this server in its three lanes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
CLIENT_ID: Final = "bench-client-id-0123456789"
OLD: Final = ", old"  # behind the name of a lane of another checkout
_NGINX: Final = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 1000000;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A relay under measurement, and how a client asks it."""

    name: str
    port: int
    pids: list[int]
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)
    model: str = "{}"  # around the upstream's
    last: str = "data: [DONE]"
    native: bool = False

    def body(self, model: str, *, stream: bool = True) -> dict[str, Any]:
        named = self.model.format(model)
        if self.native:
            engine, _, name = named.partition("/")
            return {"engine": engine, "model": name, "prompt": "Hello there", "stream": stream, "tools": False}
        body = {"model": named, "messages": [{"role": "user", "content": "Hello there"}], "stream": stream}
        return {**body, "stream_options": {"include_usage": True}} if stream else body


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def process(arguments: Sequence[str], cwd: Path = ROOT, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Runs until the end of the block. A closed stdin, or SIGTERM, tells it to stop."""
    base = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    started = subprocess.Popen(
        arguments,
        cwd=cwd,
        env={**base, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield started
    finally:
        started.terminate()
        started.communicate(timeout=60)


@contextmanager
def upstream(module: str = "bench.upstream") -> Iterator[int]:
    with process([sys.executable, "-m", module]) as started:
        assert started.stdout is not None
        yield int(started.stdout.readline())


@contextmanager
def nginx(provider: int, folder: Path) -> Iterator[Subject | None]:
    """``None`` where there is none."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None:
        yield None
        return
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, upstream=provider, port=port))
    with process([binary, "-p", str(folder), "-c", str(file)]) as started:
        until_open(port)
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        yield Subject(name="nginx", port=port, pids=[int(child) for child in children])


@contextmanager
def bare_tornado(provider: int) -> Iterator[Subject]:
    port = free_port()
    with process([sys.executable, "-m", "bench.relay", f"http://127.0.0.1:{provider}", str(port)]) as started:
        until_open(port)
        yield Subject(name="bare Tornado", port=port, pids=[started.pid])


def server_command(port: int, root: Path = ROOT) -> list[str]:
    return [str(root / "server.py"), "--port", str(port), "--env-file", os.devnull]


def server_environ(provider: int, folder: Path) -> dict[str, str]:
    url = f"http://127.0.0.1:{provider}"
    return {
        "AUTHORIZED_CLIENT_ID": CLIENT_ID,
        "OPENAI_API_KEY": "sk-bench-openai",
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_API_KEY": "sk-bench-anthropic",
        "ANTHROPIC_BASE_URL": url,
        "DATA_DIR": str(folder),
        "MAX_ANSWERS": "0",
    }


@contextmanager
def llm_server(
    provider: int, folder: Path, wrap: Sequence[str] = (), root: Path = ROOT, suffix: str = ""
) -> Iterator[list[Subject]]:
    """Its lanes; ``wrap`` goes in front of ``server.py`` (a profiler). ``root``: of which checkout it is the server."""
    port = free_port()
    command = [sys.executable, *wrap, *server_command(port, root)]
    with process(command, root, **server_environ(provider, folder)) as started:
        until_open(port)
        pids = [started.pid]
        key = {"Authorization": f"Bearer {CLIENT_ID}"}
        native = {"X-ClientId": CLIENT_ID, "Accept": "text/event-stream"}
        yield [
            Subject(
                name=f"native{suffix}",
                port=port,
                pids=pids,
                path="/llm/chat",
                headers=native,
                model="openai/{}",
                last='"type":"usage"',
                native=True,
            ),
            Subject(name=f"verbatim{suffix}", port=port, pids=pids, headers=key, model="openai/{}"),
            Subject(name=f"crossing{suffix}", port=port, pids=pids, headers=key, model="anthropic/{}"),
        ]


@contextmanager
def everyone(
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    provider: str = "bench.upstream",
    against: Path | None = None,
) -> Iterator[list[Subject]]:
    """All that are there, nginx first. Each has the same provider behind it; the last is the provider itself.

    ``against``: another checkout, whose lanes are measured too, each behind its own of this one.
    """
    with ExitStack() as stack:
        upstream_port = stack.enter_context(upstream(provider))
        found: list[Subject] = []
        (folder / "nginx").mkdir(exist_ok=True)
        if (proxy := stack.enter_context(nginx(upstream_port, folder / "nginx"))) is not None:
            found.append(proxy)
        found.append(stack.enter_context(bare_tornado(upstream_port)))
        lanes = stack.enter_context(llm_server(upstream_port, folder / "data"))
        old: list[Subject] = []
        if against is not None:
            old = stack.enter_context(llm_server(upstream_port, folder / "old", root=against, suffix=OLD))
        found += [lane for pair in zip_longest(lanes, old) for lane in pair if lane is not None]
        found.append(Subject(name="direct", port=upstream_port, pids=[]))
        yield [subject for subject in found if wanted(subject.name)]


def until_open(port: int, patience: float = 20) -> float:
    """Seconds until somebody listens there."""
    began = time.perf_counter()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.perf_counter() - began > patience:
                raise
            time.sleep(0.005)
        else:
            return time.perf_counter() - began
