"""Writes a client's request body for an engine, as the server does it, without a connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm.chat.request import ChatRequest
from llm.config.engines import read_custom_engines
from llm.dialects import ollama
from llm.dialects.ollama import client_generate
from llm.dialects.registry import CLIENT_DIALECTS, passthrough_target
from llm.engines.api_choice import choose_api
from llm.engines.engine import Target
from llm.engines.media_limits import check_media, correct_image_types
from llm.engines.records import ENGINES
from llm.upstream.translate import write_engine_request

# A custom engine of each dialect, by the names of ``CUSTOM_ENGINES``.
CUSTOM = read_custom_engines(
    {
        "CUSTOM_ENGINES": "chat,responses,claude,gemini,llama",
        **{f"{name}_BASE_URL": "http://127.0.0.1:1/v1" for name in ("CHAT", "RESPONSES", "CLAUDE", "GEMINI", "LLAMA")},
        "RESPONSES_DIALECT": "openai-responses",
        "CLAUDE_DIALECT": "anthropic",
        "GEMINI_DIALECT": "gemini",
        "LLAMA_DIALECT": "ollama",
    }
)
PATHS = {
    "/v1/chat/completions": CLIENT_DIALECTS["openai-chat"],
    "/v1/responses": CLIENT_DIALECTS["openai-responses"],
    "/v1/messages": CLIENT_DIALECTS["anthropic"],
    "/v1beta": CLIENT_DIALECTS["gemini"],
    "/api/chat": ollama,
    "/api/generate": client_generate,
    "/llm/chat": CLIENT_DIALECTS["native"],
}


@dataclass(frozen=True)
class Crossed:
    """What an engine gets of a client's request. ``verbatim``: the client's own body."""

    body: Mapping[str, Any]
    dropped: tuple[str, ...] = ()
    verbatim: bool = False


def cross(path: str, body: Mapping[str, Any]) -> Crossed:
    """Returns the request that the engine of ``engine/model`` gets. Raises ``LLMError``."""
    body = json.loads(json.dumps(body))
    dialect = PATHS[path]
    if path == "/llm/chat":
        engine_name, model = body["engine"], body["model"]
    else:
        engine_name, _, model = body["model"].partition("/")
    request = dialect.read_request(body)
    target = Target(engine={**ENGINES, **CUSTOM}[engine_name], model=model, key="k")
    if passthrough_target(dialect.NAME, request, target) is not None:
        return Crossed(body, verbatim=True)
    return write_for(request, engine_name, model)


def write_for(request: ChatRequest, engine_name: str, model: str) -> Crossed:
    """Returns the translated request, also for an engine of the client's dialect. Raises ``LLMError``."""
    target = choose_api(request, Target(engine={**ENGINES, **CUSTOM}[engine_name], model=model, key="k"))
    request = correct_image_types(request)
    check_media(request, target.engine.media_limits, target.engine.label, engine_name)
    out = write_engine_request(request, target)
    return Crossed(json.loads(json.dumps(out.body)), out.dropped)
