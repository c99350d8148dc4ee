"""A log that cannot be written, a full disk, a broken or locked database: chats continue, and the loss is reported (O2)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest

from llm.storage.sqlite.database import FILE_NAME
from tests.support.harness import CLIENT_ID, Client
from tests.support.paths import ROOT
from tests.support.threads import NDJSON, read_thread_state

DEMO = {"engine": "demo", "model": "demo-chat", "prompt": "Hello"}
BANNER = b"Anthropic clients:"


@contextmanager
def running(folder: Path, stderr: int | IO[bytes] = subprocess.DEVNULL, silent: int = 0) -> Iterator[Client]:
    """Runs ``python server.py`` with its log (and, with a fixed port, its start lines) in the given file."""
    base = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environ = {**base, "AUTHORIZED_CLIENT_ID": CLIENT_ID, "DATA_DIR": str(folder / "data")}
    command = [sys.executable, str(ROOT / "server.py"), "--port", str(silent)]
    stdout = stderr if silent else subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=stdout, stderr=stderr) as process:
        said = b""
        while process.stdout is not None and BANNER not in said:
            said += process.stdout.readline()
        port = re.search(rb" at http://[^:]+:(\d+)", said)
        server = Client(int(port[1]) if port is not None else silent, None)  # type: ignore[arg-type]
        try:
            yield server
        finally:
            for answer in server.open:
                answer.close()
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
    assert code == 0


async def chats(server: Client, count: int = 3) -> None:
    for _ in range(count):
        assert (await server.chat(NDJSON, **DEMO))[-1]["type"] == "usage"


async def health(server: Client) -> Any:
    return await (await server.get("/health")).json()


async def test_o2_a_log_on_a_full_disk_loses_only_log_lines(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, running(tmp_path, full) as server:
        await chats(server)
        told = await health(server)
        assert told == {"status": "ok", "lost": {"log_lines": 3, "answers": 0}}


async def test_o2_a_log_whose_reader_has_gone_loses_only_log_lines(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with running(tmp_path, writing) as server:
        os.close(writing)
        os.close(reading)
        await chats(server)
        assert (await health(server))["lost"]["log_lines"] == 3


async def test_o2_a_log_that_is_not_read_delays_no_chat(tmp_path: Path) -> None:
    """The pipe is full, as with a log collector that hangs. The number of lost lines is logged as soon as possible."""
    reading, writing = os.pipe()
    with (
        open(reading, "rb", buffering=0) as log,
        open(writing, "wb", buffering=0) as end,
        running(tmp_path, end) as server,
    ):
        os.set_blocking(writing, False)
        while end.write(b" " * 4096) is not None:
            pass
        os.set_blocking(writing, True)  # for the server, which has the same pipe
        await chats(server, 3)
        assert (await health(server))["lost"]["log_lines"] == 3
        os.set_blocking(reading, False)
        while log.read(1 << 20) is not None:
            pass
        await chats(server, 2)
        lost = (await health(server))["lost"]["log_lines"]
        lines = [json.loads(line) for line in log.read(65536).splitlines()]
    assert (lines[0]["event"], lines[0]["lost"]) == ("log", lost)
    assert {line["event"] for line in lines[1:]} == {"request"}
    assert len(lines[1:]) + lost in (6, 7)  # five chats and one look at /health; another may be among them


async def test_o2_a_server_without_any_output_serves(tmp_path: Path, unused_tcp_port: int) -> None:
    with open("/dev/full", "wb") as full, running(tmp_path, full, unused_tcp_port) as server:
        deadline = time.monotonic() + 20
        while True:
            try:
                await chats(server)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mounts a small file system, if permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def _in_thread(server: Client, id: str, prompt: str = "Hello") -> Any:
    return read_thread_state(await server.chat(NDJSON, **{**DEMO, "prompt": prompt}, thread=id))


async def _new(server: Client) -> str:
    id = (await (await server.request("PUT", "/thread")).json())["id"]
    assert isinstance(id, str)
    return id


async def test_o2_a_full_disk_stops_no_chat(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with small_disk(data, "400k"), running(tmp_path) as server:
        id = await _new(server)
        assert (await _in_thread(server, id))["saved"]
        with (data / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        told = await _in_thread(server, id, "x" * 50_000)
        assert (told["saved"], told["code"]) == (False, "storage_failed")
        await chats(server)
        assert (await health(server))["lost"] == {"log_lines": 0, "answers": 1}
        (data / "filler").unlink()
        assert (await _in_thread(server, id, "again"))["saved"]
        messages = await (await server.get(f"/thread/{id}")).json()
        assert [m["content"] for m in messages[::2]] == ["Hello", "again"]


async def test_o2_a_database_lock_of_another_process_delays_no_other_chat(tmp_path: Path) -> None:
    hold = (
        "import sqlite3, sys\n"
        "lock = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "lock.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with running(tmp_path) as server:
        id = await _new(server)
        command = [sys.executable, "-c", hold, str(tmp_path / "data" / FILE_NAME)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None and holder.stdin is not None
            assert holder.stdout.readline() == b"held\n"
            waiting = asyncio.create_task(_in_thread(server, id))
            served = 0
            while not waiting.done():
                assert (await (await server.get("/health")).json())["status"] == "ok"
                served += 1
            assert (await waiting)["code"] == "storage_failed"
            holder.stdin.close()
        assert served > 20  # while the lock was waited for
        assert (await _in_thread(server, id))["saved"]


async def test_o2_an_invalid_database_file_stops_no_chat(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE_NAME).write_bytes(b"this is no database, " * 1000)
    with running(tmp_path) as server:
        made = await server.request("PUT", "/thread")
        assert (made.status, (await made.json())["code"]) == (503, "storage_failed")
        await chats(server)
    assert (tmp_path / "data" / FILE_NAME).read_bytes().startswith(b"this is no")


async def test_o2_a_broken_database_stops_no_chat_and_a_restored_one_is_used(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        id = await _new(server)
        assert (await _in_thread(server, id))["saved"]
        file = tmp_path / "data" / FILE_NAME
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        good = file.read_bytes()
        file.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
        broken = await server.get(f"/thread/{id}")
        assert broken.status in (404, 503), await broken.body()
        await chats(server)
        file.write_bytes(good)
        deadline = time.monotonic() + 10
        while (await server.get(f"/thread/{id}")).status != 200:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("folder", ["/proc/nowhere/data", "/dev/null/data"])
async def test_o2_a_folder_that_cannot_be_created_stops_no_chat(folder: str, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(folder)
    with running(tmp_path) as server:
        await chats(server)
        made = await server.request("PUT", "/thread")
        assert made.status == 503 and folder not in (await made.body()).decode()
