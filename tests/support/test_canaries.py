"""The search for keys finds a key in every output (``tests/support/canaries.py``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

LEAKS = """
import logging
from pathlib import Path

import pytest

from llm import log
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

WIRE = WIRES["openai"]
KEY = "sk-canary-OPENAI"
BODY = {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


async def run(says: str = "Hi", address: str = "", headers=CLIENT, **environ: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(WIRE.head)
        await connection.chunk(WIRE.delta(says))
        await connection.chunk(WIRE.end)
        await connection.end()

    async with Upstream(script).run() as upstream:
        base = WIRE.environ(upstream)
        async with run_server(make_config(**{**base, "OPENAI_BASE_URL": base["OPENAI_BASE_URL"] + address}, **environ)) as server:
            answer = await server.post("/v1/chat/completions", BODY, headers)
            assert answer.status == 200
            await answer.body()


async def test_sound():
    await run()


async def test_leak_answer():
    await run(CLIENT["X-ClientId"])


async def test_leak_answer_of_the_key():
    await run(KEY)


async def test_leak_answer_of_an_own_key():
    await run("canary-of-groq", headers={"X-OpenAI-Key": "sk-canary-1", "X-Groq-Key": "canary-of-groq"})


async def test_leak_address():
    await run(address="/" + KEY)


async def test_leak_log():
    await run()
    log.write("request", told=KEY)


async def test_leak_log_trace():
    await run()
    try:
        raise ValueError(KEY)
    except ValueError as error:
        log.write("bug", 40, exc_info=error)


async def test_leak_print():
    await run()
    print(KEY)


async def test_leak_file(tmp_path):
    (tmp_path / "database.sqlite").write_bytes(b"..." + KEY.encode())
    await run(DATA_DIR=str(tmp_path))


async def test_leak_cut_in_two():
    from tests.support.canaries import Tap

    class Socket:
        def send(self, data):
            return 5

    await run()
    tap = Tap(Socket())
    whole = KEY.encode()
    while whole:
        whole = whole[tap.send(whole):]
"""


def test_x4_a_test_that_lets_a_key_out_fails(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "0", "-rA"]
    run = subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path / "test_leaks.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    leaks = LEAKS.count("test_leak")
    assert f"{leaks} failed, 1 passed" in run.stdout, run.stdout[-3000:] + run.stderr[-1000:]
    for place in (
        "what a client was sent",
        "an address that was asked",
        "the log",
        "stdout",
        "the file database.sqlite",
    ):
        assert place in run.stdout, place
