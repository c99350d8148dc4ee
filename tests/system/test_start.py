"""The real command: starts fast with little memory, opens no connection, drains, and reports invalid settings."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import dotenv
import pytest

import server
from llm import log
from llm.config.settings import Config
from tests.support.harness import CLIENT_ID
from tests.support.paths import ROOT
from tests.support.processes import find_url, start_server


def test_the_printed_curl_works_verbatim(tmp_path: Path) -> None:
    with start_server("--port", "0", cwd=tmp_path) as (_, lines):
        [curl] = [line.removeprefix("try: ") for line in lines if line.startswith("try: ")]
        assert shlex.split(curl)[0] == "curl"
        told = subprocess.run(
            ["bash", "-c", curl + " -s"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env={**os.environ, "no_proxy": "*"},
        )
    objects = [json.loads(line) for line in told.stdout.splitlines()]
    assert [o["type"] for o in objects[-2:]] == ["content", "usage"]
    assert [o["done"] for o in objects if o["type"] == "content"].count(True) == 1
    assert "demo" in "".join(o["text"] for o in objects[:-1])


def test_a_configured_client_id_is_never_printed(tmp_path: Path) -> None:
    with start_server("--port", "0", cwd=tmp_path, AUTHORIZED_CLIENT_ID=CLIENT_ID, OPENAI_API_KEY="sk-12345678") as (
        _,
        lines,
    ):
        text = "\n".join(lines)
    assert CLIENT_ID not in text and "sk-12345678" not in text
    assert "$AUTHORIZED_CLIENT_ID" in text
    assert "engines: OpenAI" in text


def test_settings_are_read_from_dotenv_and_a_misspelt_name_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=0\nGROQ_API_KEY=gsk_12345678\nOPENAI_API_KEI=sk-12345678\n")
    with start_server(cwd=tmp_path) as (_, lines):
        assert "engines: Groq" in lines
        assert "warning: OPENAI_API_KEI in .env is not a known setting; did you mean OPENAI_API_KEY?" in lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "70000"),
        ("AUTHORIZED_CLIENT_ID", ""),
        ("IDLE_TIMEOUT", "-1"),
        ("MAX_BODY_SIZE", "much"),
        ("OLLAMA_ENABLED", "maybe"),
        ("OPENAI_BASE_URL", "ftp://x"),
        ("CUSTOM_ENGINES", "openai"),
        ("CUSTOM_ENGINES", "vllm"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1080"),
    ],
)
def test_an_invalid_value_exits_with_2_and_names_the_setting(tmp_path: Path, name: str, value: str) -> None:
    told = subprocess.run(
        [sys.executable, str(ROOT / "server.py")],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], name: value},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert told.returncode == 2
    assert told.stderr.startswith("configuration error: ")
    assert (name if value != "vllm" else "VLLM_BASE_URL") in told.stderr
    assert told.stderr.count("\n") == 1


def test_br_11_a_file_of_settings_that_cannot_be_read_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of mode 0600 that belongs to another user; the tests may run as root, who can read it."""
    path = tmp_path / ".env"
    path.write_text("PORT=3000")

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(dotenv, "dotenv_values", refuse)
    assert server.main(["--env-file", str(path)]) == 2
    assert capsys.readouterr().err == f"configuration error: {path}: Permission denied\n"


def test_br_11_other_files_that_cannot_be_read_exit_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"TTS_VOICE=\xff\xfe")
    assert server.main(["--env-file", str(path)]) == 2
    assert capsys.readouterr().err == f"configuration error: {path}: it is not UTF-8 text\n"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert server.main(["--env-file", os.devnull]) == 2
    assert "SSL_CERT_FILE: " in capsys.readouterr().err


def test_br_11_the_systemd_unit_hands_on_a_file_that_only_root_can_read() -> None:
    unit = (ROOT / "deploy" / "llm-server.service").read_text()
    assert "DynamicUser=yes" in unit and "LoadCredential=env:/opt/llm-server/.env\n" in unit
    assert "server.py --env-file ${CREDENTIALS_DIRECTORY}/env\n" in unit


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::", {"0.0.0.0", "::"}),
        ("127.0.0.1,::1", {"127.0.0.1", "::1"}),
        ("127.0.0.1, 127.0.0.2", {"127.0.0.1", "127.0.0.2"}),
    ],
)
def test_several_addresses_and_both_families_share_one_port(host: str, expected: set[str]) -> None:
    sockets = server.listen(Config.from_env({"HOST": host, "PORT": "0"}))
    try:
        assert {sock.getsockname()[0] for sock in sockets} == expected
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


def test_a_chosen_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = subprocess.run(
            [sys.executable, str(ROOT / "server.py"), "--port", str(taken.getsockname()[1])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert told.returncode == 1
    assert "in use" in told.stderr


REFUSING = """
import resource

def refuse(*_):
    raise {error}

resource.getrlimit = lambda _: {limits}
resource.setrlimit = refuse
"""
REFUSED = {
    "a container that may not": ("PermissionError(1, 'Operation not permitted')", "(256, 4096)", 4096),
    "macOS with a number": ("ValueError('current limit exceeds maximum limit')", "(256, 24576)", 24576),
    "macOS without an end": ("OSError(22, 'Invalid argument')", "(256, resource.RLIM_INFINITY)", 10240),
}


def started_after(code: str, folder: Path) -> tuple[int, list[dict[str, object]], str]:
    """Runs a server after this code in the same process, and one request. Returns exit code, log and limits."""
    before = folder / "before"
    before.mkdir()
    (before / "sitecustomize.py").write_text(code)
    with start_server("--port", "0", "--processes", "1", cwd=folder, PYTHONPATH=str(before)) as (process, lines):
        with urllib.request.urlopen(find_url(lines) + "/health", timeout=20) as answer:
            assert answer.status == 200
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        told = [json.loads(line) for line in process.stderr]
        return process.wait(20), told, limits


@pytest.mark.parametrize("place", REFUSED)
def test_a_limit_on_files_that_cannot_be_raised_is_a_warning(tmp_path: Path, place: str) -> None:
    error, limits, wanted = REFUSED[place]
    code, told, _ = started_after(REFUSING.format(error=error, limits=limits), tmp_path)
    assert code == 0
    [warning] = [line for line in told if line["event"] == "open_files"]
    assert (warning["level"], warning["limit"], warning["wanted"]) == ("warning", 256, wanted)
    assert str(warning["problem"]) in error or "Errno" in str(warning["problem"])


@pytest.mark.parametrize("limits", [(200, 300), (300, 300)])
def test_a_low_limit_on_files_is_raised_as_far_as_allowed(tmp_path: Path, limits: tuple[int, int]) -> None:
    code, told, after = started_after(
        f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, {limits})", tmp_path
    )
    assert code == 0
    assert not [line for line in told if line["event"] == "open_files"]
    assert re.search(r"Max open files +300 +300 ", after)


@pytest.mark.parametrize(
    ("limits", "asked", "told"),
    [
        ((256, resource.RLIM_INFINITY), [10240], None),
        ((256, 4096), [4096], None),
        ((256, 24576), [24576, 10240], 10240),
        ((20_000, 24576), [24576], 20_000),
        ((20_000, resource.RLIM_INFINITY), [], None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), [], None),
        ((4096, 4096), [], None),
    ],
)
def test_the_limit_on_files_is_raised_on_macos(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], asked: list[int], told: int | None
) -> None:
    calls: list[int] = []
    warnings: list[object] = []

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        calls.append(wanted[0])
        assert wanted[1] == limits[1]
        if not 0 <= wanted[0] <= 10240:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    monkeypatch.setattr(log, "write", lambda *_, limit, **__: warnings.append(limit))
    server._raise_file_limit()
    assert (calls, warnings) == (asked, [] if told is None else [told])


def test_version_is_printed() -> None:
    told = subprocess.run([sys.executable, str(ROOT / "server.py"), "--version"], capture_output=True, text=True)
    assert re.fullmatch(r"llm-server \d+\.\d+\.\d+(, (uvloop|orjson) [\d.]+)*\n", told.stdout)


FASTER = ("uvloop", "orjson")


def without_extras(folder: Path) -> dict[str, str]:
    """Returns an environment in which only the required packages can be imported."""
    hidden = folder / "hidden"
    hidden.mkdir()
    for name in FASTER:
        (hidden / f"{name}.py").write_text("raise ImportError")
    return {"PYTHONPATH": str(hidden)}


def test_accelerators_are_used_and_printed_but_optional(tmp_path: Path) -> None:
    installed = [name for name in FASTER if find_spec(name)]
    for environ, there in ((without_extras(tmp_path), []), (dict[str, str](), installed)):
        with start_server("--port", "0", cwd=tmp_path, **environ) as (process, lines):
            told = [line for line in lines if line.startswith("faster with ")]
            assert [re.findall(r"[a-z]+(?= [\d.]+)", line) for line in told] == ([there] if there else [])
            loaded = Path(f"/proc/{process.pid}/maps").read_text()
            assert [name for name in FASTER if f"/{name}/" in loaded] == there
            [curl] = [line.removeprefix("try: ") for line in lines if line.startswith("try: ")]
            answer = subprocess.run(
                ["bash", "-c", curl + " -s"], capture_output=True, text=True, timeout=20, check=True
            )
            assert json.loads(answer.stdout.splitlines()[-1])["type"] == "usage"


def test_sigterm_lets_a_running_answer_finish_and_exits_0(tmp_path: Path) -> None:
    with start_server("--port", "0", cwd=tmp_path, AUTHORIZED_CLIENT_ID=CLIENT_ID) as (process, lines):
        body = json.dumps({"engine": "demo", "model": "demo-chat", "prompt": "one two three four five"}).encode()
        request = urllib.request.Request(f"{find_url(lines)}/llm/chat", body, {"X-ClientId": CLIENT_ID})
        with urllib.request.urlopen(request, timeout=20) as answer:
            first = answer.readline()
            process.send_signal(signal.SIGTERM)
            objects = [json.loads(line) for line in (first, *answer)]
        assert objects[-1]["type"] == "usage"
        assert process.wait(20) == 0


def test_sigterm_ends_an_unfinished_answer_with_an_error(tmp_path: Path) -> None:
    environ = {"AUTHORIZED_CLIENT_ID": CLIENT_ID, "DRAIN_TIMEOUT": "0.3"}
    with start_server("--port", "0", cwd=tmp_path, **environ) as (process, lines):
        body = json.dumps({"engine": "demo", "model": "demo-stall", "prompt": "x"}).encode()
        request = urllib.request.Request(f"{find_url(lines)}/llm/chat", body, {"X-ClientId": CLIENT_ID})
        with urllib.request.urlopen(request, timeout=20) as answer:
            first = answer.readline()
            process.send_signal(signal.SIGTERM)
            objects = [json.loads(line) for line in (first, *answer)]
        assert (objects[-1]["type"], objects[-1]["code"]) == ("error", "draining")
        assert process.wait(20) == 0


def test_several_processes_share_the_port_and_stop_together(tmp_path: Path) -> None:
    with start_server("--port", "0", "--processes", "2", cwd=tmp_path) as (process, lines):
        with urllib.request.urlopen(f"{find_url(lines)}/health", timeout=20) as answer:
            assert answer.status == 200
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_o4_it_starts_with_little_memory_and_few_modules(tmp_path: Path) -> None:
    """Checks idle memory as the kernel counts it, and the number of third-party modules beyond Tornado's own.

    Only the three required packages are installed: uvloop takes 2 MB more. ``make size`` measures how long a start takes.
    """
    with start_server("--port", "0", cwd=tmp_path, **without_extras(tmp_path)) as (process, _):
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]
    assert resident < 40 * 1024

    bare = "import tornado.web, tornado.httpserver, tornado.tcpclient, asyncio"
    whole = "import asyncio, server\nasync def f(): server.make_context(server.Config.from_env({}))\nasyncio.run(f())\n"

    def imported(code: str) -> int:
        tell = "import sys; print(sum(name.split('.')[0] not in ('llm', 'handlers', 'server') for name in sys.modules))"
        run = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
        return int(run.stdout)

    assert imported(whole) < 1.6 * imported(bare)


def test_o5_no_connection_is_opened_at_start(tmp_path: Path) -> None:
    """An audit hook reports every connect."""
    guard = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo') and 'asyncio' not in str(arguments):\n"
        "        if event == 'socket.getaddrinfo' and arguments[0] in ('127.0.0.1', None): return\n"
        "        print('CALLED', event, arguments, flush=True)\n"
        "sys.addaudithook(hook)\n"
        "import server\n"
        "sys.exit(server.main(['--port', '0']))\n"
    )
    environ = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-12345678", "OLLAMA_ENABLED": "true"}
    process = subprocess.Popen(
        [sys.executable, "-c", guard],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Anthropic clients:"):
            break
    with urllib.request.urlopen(f"{find_url(lines)}/health", timeout=20) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=20)
    assert "CALLED" not in "".join(lines) + rest
