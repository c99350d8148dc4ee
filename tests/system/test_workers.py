"""``python server.py --processes 2`` acts as one server: cancel works across workers, all drain, dead workers are replaced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support.harness import CLIENT, Answer, Connection, OpenConnection, Request, Upstream
from tests.support.paths import ROOT
from tests.support.processes import find_url, start_server
from tests.support.threads import read_thread_state
from tests.support.wires import WIRES
from tests.support.workers import (
    NDJSON,
    STALL,
    TOGETHER,
    RunningServer,
    has_socket_open,
    read_state,
    run_workers,
    wait_until,
)

SLOW = {"engine": "openai", "model": "gpt-4o", "prompt": "x", "tools": False}


def listens(pid: int, port: int) -> bool:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [inode] = {row[9] for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "0A"}
    return has_socket_open(pid, inode)


def gone(pid: int) -> bool:
    """True if the process has ended (also as a zombie that its new parent has not collected)."""
    return read_state(pid) in ("", "Z")


class Provider:
    """Starts to answer, and ends after ``end`` is set."""

    def __init__(self) -> None:
        self.wire = WIRES["openai"]
        self.end = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        await connection.stream(self.wire.content_type)
        await connection.chunk(self.wire.head + self.wire.delta("One "))
        await self.end.wait()
        await connection.chunk(self.wire.end)
        await connection.end()


async def draining(server: RunningServer, over: OpenConnection) -> None:
    """Waits until the worker of an open connection reports that it drains."""
    async with asyncio.timeout(10):
        while True:
            answer = await server.send("GET", "/health", connection=over)
            await answer.head()
            told = await answer.json()
            if (answer.status, told["status"]) == (503, "draining"):
                return
            assert (answer.status, told["status"]) == (200, "ok")


async def last(answer: Answer) -> Any:
    async with asyncio.timeout(10):
        return (await answer.objects())[-1]


async def test_c2_a_cancel_finds_the_answer_in_another_worker(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as server:
        first, second = server.workers
        for here, there in ((first, second), (second, first), (first, first)):
            answer = await server.start_stream(here, "my-request-1")
            stranger = await server.request_to(
                there, "DELETE", "/llm/chat/my-request-1", None, {"X-OpenAI-Key": "sk-stranger"}
            )
            assert stranger.status == 404
            assert (await server.request_to(there, "DELETE", "/llm/chat/my-request-1")).status == 204
            told = await last(answer)
            assert (told["type"], told["code"]) == ("error", "cancelled")
            assert (await server.request_to(there, "DELETE", "/llm/chat/my-request-1")).status == 404


async def test_c2_one_cancel_stops_every_answer_of_that_id(tmp_path: Path) -> None:
    """A request id chosen by a client is unique in one worker only."""
    async with run_workers(tmp_path) as server:
        answers = [await server.start_stream(worker, "my-request-1") for worker in server.workers]
        assert (await server.request("DELETE", "/llm/chat/my-request-1")).status == 204
        assert [(await last(answer))["code"] for answer in answers] == ["cancelled"] * TOGETHER


async def test_c2_a_hundred_cancels_at_once_all_find_theirs(tmp_path: Path) -> None:
    """About half of them run in another worker."""
    async with run_workers(tmp_path) as server:
        ids = [f"my-request-{n}" for n in range(100)]
        answers = [await server.post("/llm/chat", STALL, {**NDJSON, "X-Request-Id": id}) for id in ids]
        told = await asyncio.gather(*(server.request("DELETE", f"/llm/chat/{id}") for id in ids))
        assert {answer.status for answer in told} == {204}
        assert {(await last(answer))["code"] for answer in answers} == {"cancelled"}


async def test_c2_a_hanging_worker_delays_a_cancel_only_briefly(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as server:
        here, there = server.workers
        over = await server.connect_to(here)
        os.kill(there, signal.SIGSTOP)
        try:
            answer = await server.send("DELETE", "/llm/chat/nobody-has-it", None, CLIENT, connection=over)
            async with asyncio.timeout(5):
                await answer.head()
            assert answer.status == 404
        finally:
            os.kill(there, signal.SIGCONT)
        mine = await server.start_stream(there, "my-request-1")
        assert (await server.request_to(here, "DELETE", "/llm/chat/my-request-1")).status == 204
        assert (await last(mine))["code"] == "cancelled"


async def test_o7_all_workers_drain_together(tmp_path: Path) -> None:
    """In each worker new requests are refused, /health reports it and running answers finish; the exit code is 0."""
    provider = Provider()
    async with Upstream(provider).run() as upstream:
        async with run_workers(tmp_path, **provider.wire.environ(upstream)) as server:
            workers = server.workers
            answers = [await server.start_stream(worker, "my-request-1", SLOW) for worker in workers]
            idle = [(await server.connect_to(worker), await server.connect_to(worker)) for worker in workers]
            server.process.send_signal(signal.SIGTERM)
            for one, other in idle:
                await draining(server, one)
                refused = await server.send("POST", "/llm/chat", SLOW, CLIENT, connection=other)
                await refused.head()
                assert (refused.status, (await refused.json())["code"]) == (503, "draining")
            assert server.workers == workers and server.process.poll() is None
            provider.end.set()
            assert [(await last(answer))["type"] for answer in answers] == ["usage"] * TOGETHER
            assert await server.wait_ended() == 0
            assert all(gone(worker) for worker in workers)


async def test_o7_an_unfinished_answer_ends_with_an_error_in_each_worker(tmp_path: Path) -> None:
    async with run_workers(tmp_path, DRAIN_TIMEOUT="0.3") as server:
        answers = [await server.start_stream(worker, "my-request-1") for worker in server.workers]
        server.process.send_signal(signal.SIGINT)
        assert [(await last(answer))["code"] for answer in answers] == ["draining"] * TOGETHER
        assert await server.wait_ended() == 0


@pytest.mark.parametrize("processes", [1, TOGETHER])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_everything_at_once(tmp_path: Path, processes: int, second: signal.Signals) -> None:
    async with run_workers(tmp_path, processes) as server:
        workers = server.workers or [server.process.pid]
        idle = [await server.connect_to(worker) for worker in workers]
        answers = [await server.start_stream(worker, "my-request-1") for worker in workers]
        server.process.send_signal(signal.SIGTERM)
        for over in idle:
            await draining(server, over)
        server.process.send_signal(second)
        assert await server.wait_ended() == -second
        assert server.process.stderr is not None and "Traceback" not in server.process.stderr.read()
        for answer in answers:
            with pytest.raises(asyncio.IncompleteReadError):
                await last(answer)
        await wait_until(lambda: all(gone(worker) for worker in workers))


async def test_ctrl_c_which_reaches_every_process_of_the_terminal_drains(tmp_path: Path) -> None:
    """A service manager may also signal all processes."""
    provider = Provider()
    async with Upstream(provider).run() as upstream:
        for signum in (signal.SIGINT, signal.SIGTERM):
            provider.end.clear()
            async with run_workers(tmp_path, **provider.wire.environ(upstream)) as server:
                workers = server.workers
                answers = [await server.start_stream(worker, "my-request-1", SLOW) for worker in workers]
                idle = [await server.connect_to(worker) for worker in workers]
                for pid in (*workers, server.process.pid):
                    os.kill(pid, signum)
                for over in idle:
                    await draining(server, over)
                provider.end.set()
                assert [(await last(answer))["type"] for answer in answers] == ["usage"] * TOGETHER
                assert await server.wait_ended() == 0


async def test_sigterm_to_one_worker_refuses_no_request_and_it_is_replaced(tmp_path: Path) -> None:
    provider = Provider()
    async with Upstream(provider).run() as upstream:
        async with run_workers(tmp_path, **provider.wire.environ(upstream)) as server:
            leaving, staying = server.workers
            answer = await server.start_stream(leaving, "my-request-1", SLOW)
            os.kill(leaving, signal.SIGTERM)
            await wait_until(lambda: not listens(leaving, server.port))
            for _ in range(20):  # by the remaining workers
                assert (await server.get("/health")).status == 200
            assert (await server.request_to(staying, "DELETE", "/llm/chat/nobody-has-it")).status == 404
            provider.end.set()
            assert (await last(answer))["type"] == "usage"
            await wait_until(lambda: {*server.workers} > {staying} and leaving not in server.workers)
            [new] = {*server.workers} - {staying}
            assert (await server.request_to(new, "GET", "/health")).status == 200


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_see_a_broken_stream(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as server:
        killed, staying = server.workers
        broken, whole = (
            await server.start_stream(killed, "my-request-1"),
            await server.start_stream(staying, "my-request-2"),
        )
        os.kill(killed, signal.SIGKILL)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await last(broken)
        await wait_until(lambda: len({*server.workers} - {killed}) == TOGETHER)
        [new] = {*server.workers} - {staying}
        assert (await server.request_to(new, "DELETE", "/llm/chat/my-request-1")).status == 404
        assert (await server.request_to(new, "DELETE", "/llm/chat/my-request-2")).status == 204
        assert (await last(whole))["code"] == "cancelled"
        mine = await server.start_stream(new, "my-request-3")
        assert (await server.request_to(staying, "DELETE", "/llm/chat/my-request-3")).status == 204
        assert (await last(mine))["code"] == "cancelled"
        server.process.send_signal(signal.SIGTERM)
        assert await server.wait_ended() == 0
        assert server.process.stderr is not None
        told = [json.loads(line) for line in server.process.stderr.read().splitlines()]
        [line] = [line for line in told if line["event"] == "worker"]
        assert (line["number"], line["code"]) == (0, -signal.SIGKILL)


async def test_workers_whose_parent_is_killed_finish_what_runs_and_end(tmp_path: Path) -> None:
    provider = Provider()
    async with Upstream(provider).run() as upstream:
        async with run_workers(tmp_path, **provider.wire.environ(upstream)) as server:
            workers = server.workers
            answers = [await server.start_stream(worker, "my-request-1", SLOW) for worker in workers]
            idle = [await server.connect_to(worker) for worker in workers]
            server.process.kill()
            for over in idle:
                await draining(server, over)
            provider.end.set()
            assert [(await last(answer))["type"] for answer in answers] == ["usage"] * TOGETHER
            await wait_until(lambda: all(gone(worker) for worker in workers))


async def test_connections_are_distributed_over_the_workers(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as server:
        for worker in server.workers:
            await server.request_to(worker, "GET", "/health")  # it has started

        owners: set[int] = set()
        for _ in range(3):  # a busy machine may give a whole round to one of them
            overs = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
            owners |= {await server.wait_accepted(over) for over in overs}
            for _, writer in overs:
                writer.transport.abort()
            if owners == {*server.workers}:
                break
        assert owners == {*server.workers}


async def test_a_random_client_id_is_the_same_in_every_worker(tmp_path: Path) -> None:
    with start_server("--port", "0", "--processes", "2", cwd=tmp_path) as (process, lines):
        [id] = [line.partition("#id=")[2] for line in lines if line.startswith("web page: ")]
        port = re.search(r":(\d+)$", find_url(lines))
        assert port is not None
        server = RunningServer(process, int(port[1]))
        await wait_until(lambda: len(server.workers) == TOGETHER)
        for worker in server.workers:
            answer = await server.request_to(worker, "GET", "/llm/engines", headers={"X-ClientId": id})
            assert answer.status == 200
        for answer in server.open:
            answer.close()


@contextmanager
def workers(work: str) -> Iterator[subprocess.Popen[str]]:
    """Runs two workers with this code."""
    code = f"""
        import os, sys
        from handlers.server.workers import Workers
        from llm import log
        log.setup()
        def work(worker):
            {work}
        sys.exit(Workers(2, [], work).run())
    """
    process = subprocess.Popen([sys.executable, "-c", dedent(code)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_workers_that_cannot_start_end_the_server() -> None:
    with workers("raise OSError('no such thing')") as process:
        assert process.wait(20) == 1
        assert process.stderr is not None
        told = [json.loads(line) for line in process.stderr]
    assert any("OSError: no such thing" in line.get("trace", "") for line in told)
    assert sum(line.get("problem") == "a worker cannot start" for line in told) == 1


def test_a_worker_that_keeps_ending_is_restarted_with_growing_delays() -> None:
    with workers("os._exit(0) if worker.number else os.read(worker.parent, 1)") as process:
        assert process.stderr is not None
        told = [json.loads(process.stderr.readline()) for _ in range(4)]
    assert {line["number"] for line in told} == {1}
    assert [line["restart_delay"] for line in told] == [0.1, 0.3, 0.7, 1.5]
    assert process.returncode == 0


async def test_two_workers_that_append_to_one_thread_lose_nothing(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as server:
        id = (await (await server.request("PUT", "/thread")).json())["id"]
        prompts = [f"prompt {n}" for n in range(60)]

        async def chat(over: OpenConnection, mine: list[str]) -> None:
            for prompt in mine:
                body = {"engine": "demo", "model": "demo-chat", "thread": id, "prompt": prompt}
                answer = await server.send("POST", "/llm/chat", body, NDJSON, connection=over)
                await answer.head()
                assert read_thread_state(await answer.objects())["saved"]

        lanes = [(await server.connect_to(worker), prompts[n::6]) for n, worker in enumerate(server.workers * 3)]
        await asyncio.gather(*(chat(over, mine) for over, mine in lanes))
        messages = await (await server.request("GET", f"/thread/{id}")).json()
        asked, told = messages[::2], messages[1::2]
        assert sorted(m["content"] for m in asked) == sorted(prompts)
        assert all(q["content"] in a["content"] for q, a in zip(asked, told, strict=True))
        for _, mine in lanes:
            assert [m["content"] for m in asked if m["content"] in mine] == mine


async def test_workers_that_open_the_database_at_the_same_moment_agree_on_it(tmp_path: Path) -> None:
    """The first worker creates it."""
    async with run_workers(tmp_path, 4) as server:
        overs = [await server.connect_to(worker) for worker in server.workers * 2]
        answers = [await server.send("PUT", "/thread", None, CLIENT, connection=over) for over in overs]
        for answer in answers:
            await answer.head()
        assert [answer.status for answer in answers] == [200] * 8
        ids = {(await answer.json())["id"] for answer in answers}
        listed = await (await server.request("GET", "/thread")).json()
        assert {thread["id"] for thread in listed["threads"]} == ids
