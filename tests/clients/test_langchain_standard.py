"""LangChain's own standard tests of chat models, through every API of this server, over engines of every wire.

The engines are another process of this server with its demo engine: each of its APIs serves as the provider of a wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.support.harness import CLIENT_ID
from tests.support.processes import find_url, start_server

MODEL: Final = "demo/demo-tools"
pytestmark = pytest.mark.asyncio(loop_scope="module")  # their clients keep connections between tests
urls: dict[str, str] = {}  # of the server under test, once it runs


@pytest.fixture(scope="module", autouse=True)
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server under test, in front of one with the demo engine."""
    here = tmp_path_factory.mktemp("servers")
    access = {"AUTHORIZED_CLIENT_ID": CLIENT_ID}
    with ExitStack() as stack:
        _, lines = stack.enter_context(
            start_server("--port", "0", cwd=here, DEMO_ENABLED="true", DATA_DIR="demo", **access)
        )
        engines = list_engines(find_url(lines))
        _, lines = stack.enter_context(start_server("--port", "0", cwd=here, DATA_DIR="tested", **access, **engines))
        urls["server"] = find_url(lines).rstrip("/")
        yield


def list_engines(provider: str) -> Mapping[str, str]:
    """Returns the settings of an engine of each wire."""
    provider = provider.rstrip("/")
    return {
        "CUSTOM_ENGINES": "chat,resp,claude,olla,gemi",
        "CHAT_BASE_URL": f"{provider}/v1",
        "CHAT_API_KEY": CLIENT_ID,
        "RESP_BASE_URL": f"{provider}/v1",
        "RESP_API_KEY": CLIENT_ID,
        "RESP_DIALECT": "openai-responses",
        "CLAUDE_BASE_URL": provider,
        "CLAUDE_API_KEY": CLIENT_ID,
        "CLAUDE_DIALECT": "anthropic",
        "OLLA_BASE_URL": provider,
        "OLLA_API_KEY": CLIENT_ID,
        "OLLA_DIALECT": "ollama",
        "GEMI_BASE_URL": f"{provider}/v1beta",
        "GEMI_API_KEY": CLIENT_ID,
        "GEMI_DIALECT": "gemini",
    }


class Standard(ChatModelIntegrationTests):  # type: ignore[misc]
    """What the models have in common."""

    engine: str

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def returns_usage_metadata(self) -> bool:
        return True

    def test_stop_sequence(self, model: Any) -> None:
        if self.engine == "resp" and not isinstance(self, _Responses):
            pytest.skip("the Responses API has no stop sequences")
        super().test_stop_sequence(model)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return self.where(urls["server"], f"{self.engine}/{MODEL}")

    @staticmethod
    def where(url: str, model: str) -> dict[str, Any]:
        """Returns the parameters of the chat model."""
        raise NotImplementedError


class _Chat(Standard):
    chat_model_class = ChatOpenAI

    @staticmethod
    def where(url: str, model: str) -> dict[str, Any]:
        return {"model": model, "base_url": f"{url}/v1", "api_key": CLIENT_ID, "max_retries": 0, "stream_usage": True}


class _Responses(_Chat):
    @staticmethod
    def where(url: str, model: str) -> dict[str, Any]:
        return {**_Chat.where(url, model), "use_responses_api": True}


class _Messages(Standard):
    chat_model_class = ChatAnthropic

    @staticmethod
    def where(url: str, model: str) -> dict[str, Any]:
        return {"model": model, "base_url": url, "api_key": CLIENT_ID, "max_retries": 0}


class _Ollama(Standard):
    chat_model_class = ChatOllama

    @staticmethod
    def where(url: str, model: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {CLIENT_ID}"}
        return {"model": model, "base_url": url, "client_kwargs": {"headers": headers}}


for _api in (_Chat, _Responses, _Messages, _Ollama):
    for _engine in ("chat", "resp", "claude", "olla", "gemi"):
        _name = f"Test{_api.__name__.strip('_')}Over{_engine.title()}"
        globals()[_name] = type(_name, (_api,), {"engine": _engine, "__module__": __name__})
del _api
