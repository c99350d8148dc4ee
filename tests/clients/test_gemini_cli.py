"""The real Gemini CLI, set up as README says, over engines of every wire. Skipped where it is missing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.judging import Left, behind, ran, refusing, running
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script
from tests.support.setups import read_code, read_gemini_environ
from tests.support.wires import WIRES, Wire

GEMINI = Path(__file__).parent / "node" / "node_modules" / ".bin" / "gemini"
ALL_WIRES = {**WIRES, "chat": CHAT}
EVERY = pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
pytestmark = pytest.mark.skipif(
    not GEMINI.exists(), reason="the packages of Node are not installed: run `make test-clients` where npm is"
)


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


def prepare(url: str, model: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """Writes README's settings, with what keeps it from sending statistics; returns the command and its variables."""
    settings = json.loads(read_code("Gemini CLI", url)[1])
    (home / ".gemini").mkdir(exist_ok=True)
    (home / ".gemini" / "settings.json").write_text(
        json.dumps({**settings, "privacy": {"usageStatisticsEnabled": False}})
    )
    command = [str(GEMINI), "--model", model, "--yolo", "--output-format", "json"]
    return command, {**read_gemini_environ(url), "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def read_result(output: str) -> Any:
    """Returns the JSON behind the warnings."""
    return json.loads(output[output.index("{\n") :])


@EVERY
async def test_gemini_cli_runs_a_command_and_answers(wire: Wire, tmp_path: Path) -> None:
    script = make_call_script(wire, "run_shell_command", {"command": "echo Sunny", "description": "Says it"})
    async with behind(wire, script) as (url, upstream):
        command, environ = prepare(url, model_of(wire), tmp_path)
        code, output = await ran(*command, "-p", "Say hello", home=tmp_path, **environ)
        result = read_result(output)
        assert (code, result["response"], result["stats"]["tools"]["totalSuccess"]) == (0, ANSWER_TEXT, 1)
        assert len(upstream.requests) == 2
        code, output = await ran(*command, "--resume", "latest", "-p", "And now?", home=tmp_path, **environ)
        assert (code, read_result(output)["response"]) == (0, ANSWER_TEXT)
    last = json.dumps(upstream.requests[-1].json)
    assert all(one in last for one in ("Say hello", "Sunny", "And now?"))


@EVERY
async def test_gemini_cli_shows_an_error(wire: Wire, tmp_path: Path) -> None:
    async with behind(wire, refusing(wire, 400)) as (url, upstream):
        command, environ = prepare(url, model_of(wire), tmp_path)
        code, output = await ran(*command, "-p", "Hello", home=tmp_path, **environ)
    assert code != 0 and "No." in output and len(upstream.requests) == 1


async def test_c1_gemini_cli_that_is_stopped_stops_the_provider(tmp_path: Path) -> None:
    wire, left, begun = WIRES["anthropic"], Left(WIRES["anthropic"]), asyncio.Event()

    async def script(request: Any, connection: Any) -> None:
        begun.set()
        await left.script(request, connection)

    async with behind(wire, script) as (url, _):
        command, environ = prepare(url, model_of(wire), tmp_path)
        environ["GEMINI_CLI_NO_RELAUNCH"] = "true"  # else the process that asks is a child of the one that is stopped
        async with running(*command, "-p", "Hello", home=tmp_path, **environ) as process:
            await asyncio.wait_for(begun.wait(), 60)
            process.kill()
            await left.seen()
