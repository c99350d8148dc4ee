"""Every recorded model list through ``/llm/models/<engine>`` of the running server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from llm.transport.interface import HttpRequest
from tests.support.harness import CLIENT, ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.recordings import Recording, Response, recordings

ENGINE_OF = {"mistral": "mistralai"}  # engines with another name here
NAMED = (
    "openai", "anthropic", "google", "mistral", "ollama", "azure", "xai", "groq", "cerebras", "deepseek", "openrouter",
    "together", "huggingface", "lmstudio",
)  # fmt: skip
# Models of each kind, counted by hand in the recordings by the rules of the providers' documentation.
KINDS: dict[str, dict[str, int]] = {
    "anthropic/models-provider-anthropic-test-anthropic-list-models-2c7247": {"chat": 10},
    "anthropic/models-testthat-anthropic-list-models-a47209": {"chat": 11},
    "azure/models-models-refresh-models-output-structure-returns-models-with-c-999870": {"chat": 263},
    "cerebras/models-model-names-test-known-model-names-baad94": {"chat": 3},
    "deepseek/models-provider-deepseek-test-deepseek-list-models-122490": {"chat": 2},
    "google/models-gemini-list-models-smoke-25b876": {
        "chat": 18, "image": 10, "realtime": 6, "embedding": 3, "tts": 3, "computer": 1, "video": 4, "other": 7,
    },
    "google/models-provider-google-test-google-list-models-d51a9c": {"chat": 0, "realtime": 3, "video": 1},
    "groq/models-groq-list-models-smoke-0d1513": {"chat": 9, "tts": 2, "stt": 2},
    "huggingface/models-provider-huggingface-test-huggingface-model-list-20c0b8": {"chat": 127},
    "mistral/models-provider-mistral-test-huggingface-model-list-6e9bd4": {"chat": 53, "embedding": 4, "stt": 1},
    "ollama/models-ollama-list-models-smoke-2049a5": {"chat": 4, "embedding": 1},
    "openai/models-openai-list-models-smoke-35a3ff": {
        "chat": 75, "image": 6, "computer": 2, "stt": 6, "tts": 7, "realtime": 9, "video": 2, "embedding": 3,
    },
    "openai/models-provider-openai-test-openai-list-models-5f2e05": {
        "chat": 75, "image": 8, "computer": 2, "stt": 6, "tts": 7, "realtime": 11, "video": 2, "embedding": 3,
    },
    "openrouter/models-llm-openrouter-test-image-prompt-f585b6": {"chat": 4},
    "xai/models-models-local-provider-model-fetching-fetch-from-providers-ca-16c5d0": {"chat": 10, "image": 1},
}  # fmt: skip
# Not lists: one model, one deleted, or refused (tests/dialects/test_recorded_errors.py).
OTHERS = {
    "anthropic/models-401-list-models-rejected-key-reports-api-error-with-context-3861fd",
    "deepseek/models-401-list-models-rejected-key-reports-api-error-with-context-90b275",
    "google/models-gemini-test-cli-gemini-models-ee081f",  # in two pages, below
    "mistral/models-401-list-models-rejected-key-reports-api-error-with-context-253f22",
    "openai/models-404-models-delete-82ec9d",
    "openai/models-v1-model-delete-3c95a9",
    "openai/models-v1-model-retrieve-90457f",
}
# For some models: capabilities, those guessed from the id, and the listed limits.
FACTS: list[tuple[str, str, set[str], set[str], int | None, int | None]] = [
    ("openai", "gpt-5.4-mini", {"tools", "vision", "reasoning"}, {"tools", "images", "reasoning"}, None, None),
    ("openai", "gpt-3.5-turbo", {"tools"}, {"tools"}, None, None),
    ("openai", "o3-mini", {"tools", "reasoning"}, {"tools", "reasoning"}, None, None),
    (
        "anthropic", "claude-opus-5",
        {"tools", "vision", "reasoning", "caching", "documents", "citations", "json_schema"}, {"tools", "caching"},
        1000000, 128000,
    ),
    ("google", "gemini-3.5-flash", {"tools", "vision", "reasoning"}, {"tools", "images"}, 1048576, 65536),
    ("groq", "openai/gpt-oss-120b", {"tools", "reasoning", "json_schema"}, set(), 131072, 65536),
    ("groq", "llama-3.3-70b-versatile", {"tools"}, set(), 131072, 32768),
    ("openrouter", "openai/gpt-4o", {"tools", "vision", "documents", "json_schema"}, set(), 128000, 16384),
    ("openrouter", "anthropic/claude-sonnet-4", {"tools", "vision", "documents", "reasoning"}, set(), 1000000, 64000),
    ("mistral", "pixtral-large-2411", {"tools", "vision"}, set(), 131072, None),
    ("mistral", "magistral-medium-2509", {"tools", "vision", "reasoning"}, {"reasoning"}, 131072, None),
    ("xai", "grok-3-mini", {"tools", "reasoning"}, {"tools", "reasoning"}, None, None),
    ("xai", "grok-4-fast-non-reasoning", {"tools", "vision"}, {"tools", "images"}, None, None),
    ("xai", "grok-2-vision-1212", {"vision"}, {"images"}, None, None),
    ("ollama", "qwen3:4b", {"tools", "reasoning"}, {"tools", "reasoning"}, None, None),
    ("ollama", "llava:latest", {"vision"}, {"images"}, None, None),
    ("cerebras", "gpt-oss-120b", {"tools", "reasoning"}, {"tools", "reasoning"}, None, None),
    ("deepseek", "deepseek-v4-pro", {"tools", "reasoning"}, {"tools", "reasoning"}, None, None),
    ("huggingface", "zai-org/GLM-4.6V", {"tools", "vision", "reasoning"}, {"reasoning"}, None, None),
]  # fmt: skip


async def listed(engine: str, answers: Sequence[Response]) -> dict[str, list[dict[str, Any]]]:
    """Sends the recorded answers of a provider one after another and returns the server's response."""
    left = list(answers)

    def answer(request: HttpRequest) -> ScriptedReply:
        if not left:
            return ScriptedReply(404, {}, [b'{"error": "not found"}'])
        response = left.pop(0)
        return ScriptedReply(response.status, response.headers, [response.body])

    base = {"AZURE_BASE_URL": "https://provider.invalid"} if engine == "azure" else {}
    key = {"OLLAMA_ENABLED": "true"} if engine == "ollama" else {f"{engine.upper()}_API_KEY": "sk-12345678"}
    configured = make_config(**key, **base, MAX_RETRIES="0")
    if engine == "azure":  # which lists its catalogue, so that its deployments are named by configuration
        record = configured.engines["azure"]
        unfixed = replace(record, models=replace(record.models, fixed_models=()))
        configured = replace(configured, engines={**configured.engines, "azure": unfixed})
    transport = ScriptedTransport(answer)
    async with run_server(configured, https=transport, http=transport) as server:
        reply = await server.get(f"/llm/models/{engine}", CLIENT)
        body = await reply.json()
    assert reply.status == 200, body
    models: dict[str, list[dict[str, Any]]] = body["models"]
    return models


def entries(response: Response) -> list[dict[str, Any]]:
    wire = json.loads(response.body)
    found: list[dict[str, Any]] = wire if isinstance(wire, list) else wire.get("data") or wire.get("models")
    return found


def get_recording(name: str) -> Recording:
    return next(recording for recording in recordings() if recording.name == name)


def test_every_recorded_list_of_the_named_providers_is_here() -> None:
    names = {r.name for r in recordings() if r.api == "models" and r.provider in NAMED}
    assert names == {*KINDS, *OTHERS}


@pytest.mark.parametrize("name", KINDS)
async def test_a_recorded_list_is_classified_and_kept(name: str) -> None:
    recording = get_recording(name)
    engine = ENGINE_OF.get(recording.provider, recording.provider)
    [(_, response)] = recording.exchanges
    kinds = await listed(engine, [response])
    assert {kind: len(models) for kind, models in kinds.items()} == KINDS[name]
    own = entries(response)
    for kind, models in kinds.items():
        ids = [model["id"] for model in models]
        assert len(set(ids)) == len(ids)
        for model in models:
            meta = {n: v for n, v in model["meta"].items() if n != "capabilities" or engine != "ollama"}
            assert meta in own, "the provider's own record, untouched"
            can = {word for word, yes in model["capabilities"].items() if yes}
            guessed = {{"images": "vision"}.get(word, word) for word in model.get("guessed", ())}
            assert guessed <= can
            assert kind == "chat" or not guessed
    for kind, models in kinds.items():
        if "created" in own[0]:
            when = [model["meta"].get("created") or 0 for model in models]
            assert when == sorted(when, reverse=True), f"{kind} is not newest first"


async def test_pages_are_joined_into_one_list() -> None:
    recording = get_recording("google/models-gemini-test-cli-gemini-models-ee081f")
    rest = b'{"models": [{"name": "models/gemini-9-flash", "supportedGenerationMethods": ["generateContent"]}]}'
    [(_, first)] = recording.exchanges
    kinds = await listed("google", [first, Response(200, {}, rest)])
    assert sum(map(len, kinds.values())) == len(entries(first)) + 1
    assert "gemini-9-flash" in [model["id"] for model in kinds["chat"]]


@pytest.mark.parametrize(("provider", "id", "can", "guessed", "context", "output"), FACTS)
async def test_o10_a_fact_comes_from_the_entry_first_and_is_marked_if_guessed(
    provider: str, id: str, can: set[str], guessed: set[str], context: int | None, output: int | None
) -> None:
    found = []
    for name in KINDS:
        [(_, response)] = get_recording(name).exchanges
        listed_ids = {wire.get("id") or wire["name"].removeprefix("models/") for wire in entries(response)}
        if name.startswith(f"{provider}/") and id in listed_ids:
            kinds = await listed(ENGINE_OF.get(provider, provider), [response])
            found += [one for one in kinds["chat"] if one["id"] == id]
    model = found[-1]
    assert {word for word, yes in model["capabilities"].items() if yes} == can
    assert set(model.get("guessed", ())) == guessed
    assert (model.get("contextWindow"), model.get("maxOutputTokens")) == (context, output)


async def test_a_bare_array_is_a_list_too() -> None:
    """Together's list, of which there is no recording: https://docs.together.ai/reference/models-1"""
    own = [
        {"id": "Qwen/Qwen3.5-397B-A17B", "object": "model", "created": 2, "type": "chat", "context_length": 262144},
        {"id": "black-forest-labs/FLUX.1-schnell", "object": "model", "created": 3, "type": "image"},
        {"id": "BAAI/bge-large-en-v1.5", "object": "model", "created": 1, "type": "embedding"},
        {"id": "meta-llama/Llama-Guard-4-12B", "object": "model", "created": 1, "type": "moderation"},
        {"id": "openai/whisper-large-v3", "object": "model", "created": 1, "type": "transcribe"},
    ]
    kinds = await listed("together", [Response(200, {}, json.dumps(own).encode())])
    assert {kind: [model["id"] for model in models] for kind, models in kinds.items()} == {
        "chat": ["Qwen/Qwen3.5-397B-A17B"],
        "image": ["black-forest-labs/FLUX.1-schnell"],
        "embedding": ["BAAI/bge-large-en-v1.5"],
        "other": ["meta-llama/Llama-Guard-4-12B"],
        "stt": ["openai/whisper-large-v3"],
    }
    assert kinds["chat"][0]["contextWindow"] == 262144
