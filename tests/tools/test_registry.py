"""Which tools are offered, to whom, and from which configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llm.config.settings import Config
from llm.errors import InvalidRequest
from llm.storage.images import ImageStore
from llm.tools import web_page, youtube_transcript
from llm.tools.base import Tool, pick
from llm.tools.fetcher import Fetcher
from llm.tools.registry import make_tools
from llm.transport.egress import Egress
from llm.transport.interface import HttpRequest
from llm.upstream.engine_client import Services
from tests.support.harness import ScriptedReply, ScriptedTransport
from tests.support.paths import ROOT
from tests.support.tool_server import BODY

# --- which there are ---


def offered(**environ: str) -> dict[str, Tool]:
    def never(request: HttpRequest) -> ScriptedReply:
        raise AssertionError("nothing is asked when tools are made")

    transport = ScriptedTransport(never)
    configured = Config.from_env(environ)
    services = Services({"http": transport, "https": transport})
    return make_tools(configured, services, Fetcher(Egress()), ImageStore(Path("x"), 1, 1))


def test_a_tool_is_offered_where_it_is_configured() -> None:
    free = {"get_html_as_text", "get_youtube_transcript"}
    assert set(offered()) == free
    assert set(offered(TAVILY_API_KEY="tvly-1")) == free | {"search_tavily"}
    assert set(offered(IMAGE_ENGINE="openai", IMAGE_MODEL="m")) == free
    assert set(offered(IMAGE_ENGINE="openai", OPENAI_API_KEY="sk-1")) == free
    assert set(offered(IMAGE_ENGINE="openai", IMAGE_MODEL="m", GROQ_API_KEY="gsk-1")) == free
    assert set(offered(IMAGE_ENGINE="openai", IMAGE_MODEL="m", OPENAI_API_KEY="sk-1")) == free | {"image_generation"}


def test_a_tool_whose_package_is_missing_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server without requirements-tools.txt."""
    monkeypatch.setattr(web_page, "find_spec", lambda name: None)
    assert set(offered()) == {"get_youtube_transcript"}
    monkeypatch.setattr(youtube_transcript, "find_spec", lambda name: None)
    assert set(offered()) == set()


def test_the_packages_are_loaded_on_first_use_only() -> None:
    code = "import sys, server; print({'resiliparse', 'youtube_transcript_api', 'requests'} & {*sys.modules})"
    root = ROOT
    told = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert told.stdout == "set()\n"


def test_x1_a_caller_with_a_key_of_its_own_gets_nothing_that_spends_the_server_s() -> None:
    everything = offered(**BODY)
    assert {name for name, tool in everything.items() if tool.paid} == {"search_tavily", "image_generation"}
    assert set(pick(None, everything, trusted=True)) == set(everything)
    assert set(pick(True, everything, trusted=False)) == {"get_html_as_text", "get_youtube_transcript"}
    with pytest.raises(InvalidRequest, match=r"tools\[0\]: 'search_tavily' is only for callers with a client id"):
        pick(["search_tavily"], everything, trusted=False)


@pytest.mark.parametrize("trusted", [True, False])
def test_running_python_is_off_and_says_so(trusted: bool) -> None:
    assert "run_python_code" not in pick(True, offered(**BODY), trusted=trusted)
    with pytest.raises(InvalidRequest, match=r"tools\[1\]: 'run_python_code' is off: .*does not run code"):
        pick(["get_html_as_text", "run_python_code"], offered(**BODY), trusted=trusted)


def test_people_are_told_what_a_tool_does() -> None:
    assert {name: tool.describe("running", {}) for name, tool in offered(**BODY).items()} == {
        "get_html_as_text": "Downloading content…",
        "get_youtube_transcript": "Downloading transcript…",
        "search_tavily": "Searching the internet…",
        "image_generation": "Painting pixels…",
    }


def test_what_a_tool_takes_is_a_schema() -> None:
    for name, tool in offered(**BODY).items():
        assert tool.spec.name == name and tool.spec.executor == "server" and tool.spec.description
        assert tool.spec.parameters["type"] == "object" and tool.spec.parameters["required"]


def test_the_key_of_the_search_is_a_secret() -> None:
    configured = Config.from_env(BODY)
    assert "tvly-of-the-server" in configured.secrets and "tvly-of-the-server" not in repr(configured)


@pytest.mark.parametrize(
    ("environ", "warnings"),
    [
        ({}, []),
        ({"IMAGE_MODEL": "m"}, ["the image tool is off: IMAGE_ENGINE missing"]),
        ({"IMAGE_ENGINE": "huggingface"}, ["the image tool is off: IMAGE_MODEL and HUGGINGFACE_API_KEY missing"]),
        (BODY, []),
    ],
)
def test_half_a_configuration_of_images_is_told_at_the_start(environ: dict[str, str], warnings: list[str]) -> None:
    assert [*Config.from_env(environ).warnings] == warnings
