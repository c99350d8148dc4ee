"""Which tools are make_all_tools, to whom, and from which configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llm.config.settings import Config
from llm.errors import InvalidRequest
from llm.storage.images import ImageStore
from llm.tools import web_page, youtube_transcript
from llm.tools.base import Tool, pick_tools
from llm.tools.fetcher import Fetcher
from llm.tools.registry import make_tools
from llm.transport.egress import Egress
from llm.transport.interface import HttpRequest
from llm.upstream.engine_client import EngineClient
from tests.support.harness import ScriptedReply, ScriptedTransport
from tests.support.paths import ROOT
from tests.support.tool_server import ENVIRON

# --- which there are ---


def make_all_tools(**environ: str) -> dict[str, Tool]:
    def never(request: HttpRequest) -> ScriptedReply:
        raise AssertionError("nothing is asked when tools are made")

    transport = ScriptedTransport(never)
    configured = Config.from_env(environ)
    services = EngineClient({"http": transport, "https": transport})
    return make_tools(configured, services, Fetcher(Egress()), ImageStore(Path("x"), 1, 1))


def test_a_configured_tool_is_offered() -> None:
    free = {"get_html_as_text", "get_youtube_transcript"}
    assert set(make_all_tools()) == free
    assert set(make_all_tools(TAVILY_API_KEY="tvly-1")) == free | {"search_tavily"}
    assert set(make_all_tools(IMAGE_ENGINE="openai", IMAGE_MODEL="m")) == free
    assert set(make_all_tools(IMAGE_ENGINE="openai", OPENAI_API_KEY="sk-1")) == free
    assert set(make_all_tools(IMAGE_ENGINE="openai", IMAGE_MODEL="m", GROQ_API_KEY="gsk-1")) == free
    assert set(make_all_tools(IMAGE_ENGINE="openai", IMAGE_MODEL="m", OPENAI_API_KEY="sk-1")) == free | {
        "image_generation"
    }


def test_a_tool_without_its_package_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server without requirements-tools.txt."""
    monkeypatch.setattr(web_page, "find_spec", lambda name: None)
    assert set(make_all_tools()) == {"get_youtube_transcript"}
    monkeypatch.setattr(youtube_transcript, "find_spec", lambda name: None)
    assert set(make_all_tools()) == set()


def test_packages_are_imported_on_first_use_only() -> None:
    code = "import sys, server; print({'resiliparse', 'youtube_transcript_api', 'requests'} & {*sys.modules})"
    root = ROOT
    output = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert output.stdout == "set()\n"


def test_x1_a_caller_without_a_client_id_gets_no_paid_tools() -> None:
    everything = make_all_tools(**ENVIRON)
    assert {name for name, tool in everything.items() if tool.paid} == {"search_tavily", "image_generation"}
    assert set(pick_tools(None, everything, trusted=True)) == set(everything)
    assert set(pick_tools(True, everything, trusted=False)) == {"get_html_as_text", "get_youtube_transcript"}
    with pytest.raises(InvalidRequest, match=r"tools\[0\]: 'search_tavily' needs a client id"):
        pick_tools(["search_tavily"], everything, trusted=False)


@pytest.mark.parametrize("trusted", [True, False])
def test_running_python_is_disabled_with_a_reason(trusted: bool) -> None:
    assert "run_python_code" not in pick_tools(True, make_all_tools(**ENVIRON), trusted=trusted)
    with pytest.raises(InvalidRequest, match=r"tools\[1\]: 'run_python_code' is disabled: .*does not run code"):
        pick_tools(["get_html_as_text", "run_python_code"], make_all_tools(**ENVIRON), trusted=trusted)


def test_status_texts_of_tools() -> None:
    assert {name: tool.describe("running", {}) for name, tool in make_all_tools(**ENVIRON).items()} == {
        "get_html_as_text": "Downloading content…",
        "get_youtube_transcript": "Downloading transcript…",
        "search_tavily": "Searching the internet…",
        "image_generation": "Painting pixels…",
    }


def test_the_parameters_of_a_tool_are_a_json_schema() -> None:
    for name, tool in make_all_tools(**ENVIRON).items():
        assert tool.spec.name == name and tool.spec.executor == "server" and tool.spec.description
        assert tool.spec.parameters["type"] == "object" and tool.spec.parameters["required"]


def test_the_key_of_the_web_search_is_masked() -> None:
    configured = Config.from_env(ENVIRON)
    assert "tvly-of-the-server" in configured.secrets and "tvly-of-the-server" not in repr(configured)


@pytest.mark.parametrize(
    ("environ", "warnings"),
    [
        ({}, []),
        ({"IMAGE_MODEL": "m"}, ["the image tool is off: IMAGE_ENGINE missing"]),
        ({"IMAGE_ENGINE": "huggingface"}, ["the image tool is off: IMAGE_MODEL and HUGGINGFACE_API_KEY missing"]),
        (ENVIRON, []),
    ],
)
def test_an_incomplete_image_configuration_is_reported_at_start(environ: dict[str, str], warnings: list[str]) -> None:
    assert [*Config.from_env(environ).warnings] == warnings
