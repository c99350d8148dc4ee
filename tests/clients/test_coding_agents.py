"""Coding agents at a command line: a turn with a tool, then a second turn, over engines of every wire.

Each is set up as README or its own documentation says, in a home of its own. Skipped where it is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.judging import behind, ran
from tests.support.harness import CLIENT_ID
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script
from tests.support.setups import read_codex_config, read_environ
from tests.support.wires import WIRES, Wire

BIN: Final = Path(__file__).parent / "node" / "node_modules" / ".bin"
ALL_WIRES: Final = {**WIRES, "openai": CHAT}


@dataclass(frozen=True)
class Agent:
    """How an agent is started: ``first`` and ``second`` are the words before the prompt of each turn."""

    program: str
    tool: str  # the tool that runs a command
    arguments: Mapping[str, Any]  # of its call
    first: tuple[str, ...]
    second: tuple[str, ...]
    set_up: Callable[[str, str, Path], Mapping[str, str]]  # writes files into the home, returns the environment
    before: Callable[[str, str], tuple[str, ...]] | None = None  # a command that sets it up


def claude(url: str, model: str, home: Path) -> Mapping[str, str]:
    environ = read_environ("Claude Code", url)
    environ |= {name: model for name in environ if name.endswith("_MODEL")}
    return {**environ, "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def codex(url: str, model: str, home: Path) -> Mapping[str, str]:
    (home / ".codex").mkdir()
    quiet = "check_for_update_on_startup = false\n"
    config = quiet + read_codex_config(url, model) + "[analytics]\nenabled = false\n"
    (home / ".codex" / "config.toml").write_text(config)
    return {}


def opencode(url: str, model: str, home: Path) -> Mapping[str, str]:
    options = {"baseURL": f"{url}/v1", "apiKey": CLIENT_ID}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "here", "options": options, "models": {model: {}}}
    config = {"autoupdate": False, "share": "disabled", "provider": {"here": provider}, "model": f"here/{model}"}
    (home / "opencode.json").write_text(json.dumps(config))
    return {}


def qwen(url: str, model: str, home: Path) -> Mapping[str, str]:
    return {"OPENAI_API_KEY": CLIENT_ID, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_MODEL": model}


def continue_cli(url: str, model: str, home: Path) -> Mapping[str, str]:
    one = {"name": "here", "provider": "openai", "model": model, "apiBase": f"{url}/v1", "apiKey": CLIENT_ID}
    models = [{**one, "roles": ["chat"], "capabilities": ["tool_use"]}]
    config = {"name": "here", "version": "1.0.0", "schema": "v1", "models": models}
    (home / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return {"CONTINUE_TELEMETRY_ENABLED": "0"}


def cline(url: str, model: str, home: Path) -> Mapping[str, str]:
    return {}


def sign_in_to_cline(url: str, model: str) -> tuple[str, ...]:
    return ("auth", "-p", "openai", "-k", CLIENT_ID, "-m", model, "-b", f"{url}/v1")


COMMAND: Final = {"command": "echo Sunny", "description": "Says it"}
EXEC: Final = ("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access")
AGENTS: Final = {
    "Claude Code": Agent(
        "claude", "Bash", COMMAND, ("--allowedTools", "Bash", "-p"), ("--allowedTools", "Bash", "-c", "-p"), claude
    ),
    "Codex": Agent("codex", "exec_command", {"cmd": "echo Sunny"}, EXEC, (*EXEC, "resume", "--last"), codex),
    "opencode": Agent("opencode", "bash", COMMAND, ("run",), ("run", "--continue"), opencode),
    "Qwen Code": Agent(
        "qwen",
        "run_shell_command",
        {**COMMAND, "is_background": False},
        ("--yolo", "--auth-type", "openai", "-p"),
        ("--yolo", "--auth-type", "openai", "--continue", "-p"),
        qwen,
    ),
    "Continue CLI": Agent(
        "cn",
        "Bash",
        {"command": "echo Sunny"},
        ("--config", "config.yaml", "--auto", "-p"),
        ("--config", "config.yaml", "--auto", "--resume", "-p"),
        continue_cli,
    ),
    "Cline CLI, one turn": Agent(
        # Its sessions go on only in its terminal UI: one turn.
        "cline",
        "run_commands",
        {"commands": ["echo Sunny"]},
        ("--json",),
        (),
        cline,
        sign_in_to_cline,
    ),
}


def model_of(wire: Wire) -> str:
    return f"{wire.engine}/{'claude-sonnet-4-5' if wire.engine == 'anthropic' else 'm'}"


@pytest.mark.parametrize("wire", ALL_WIRES.values(), ids=ALL_WIRES)
@pytest.mark.parametrize("name", AGENTS)
async def test_two_turns_with_a_tool(name: str, wire: Wire, tmp_path: Path) -> None:
    agent = AGENTS[name]
    program = str(BIN / agent.program)
    if not Path(program).exists():
        pytest.skip(f"{agent.program} is not installed: run `make test-clients` where npm is")
    model = model_of(wire)
    async with behind(wire, make_call_script(wire, agent.tool, agent.arguments)) as (url, upstream):
        environ = agent.set_up(url, model, tmp_path)
        if agent.before is not None:
            code, said = await ran(program, *agent.before(url, model), home=tmp_path, **environ)
            assert code == 0, said
        code, said = await ran(program, *agent.first, "Say hello", home=tmp_path, **environ)
        assert code == 0 and ANSWER_TEXT in said, said[-2000:]
        asked = [json.dumps(request.json) for request in upstream.requests if request.body]
        assert any("Say hello" in one and "Sunny" in one for one in asked)
        if not agent.second:
            return
        code, said = await ran(program, *agent.second, "Say it again", home=tmp_path, **environ)
    assert code == 0 and ANSWER_TEXT in said, said[-2000:]
    asked = [json.dumps(request.json) for request in upstream.requests if request.body]
    assert any("Say hello" in one and "Sunny" in one and "Say it again" in one for one in asked)
