"""Providers that fail in other tasks: lists, embeddings, speech, transcripts, pictures, titles, token counts."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import pytest

from tests.support.faults import Script, answer_head, make_repeating_script, make_sending_script
from tests.support.harness import CLIENT, make_config, run_server
from tests.support.nonsense import NO_HTTP, SHAPES
from tests.support.wire_server import Wire, chunk, run_wire_server, wait_until

SAID = [{"role": "user", "content": "Hello"}]
TASKS: dict[str, tuple[str, str, Any]] = {
    "models": ("GET", "/llm/models/openai", None),
    "title": ("POST", "/llm/title", {"engine": "openai", "model": "gpt-4o", "messages": SAID}),
    "embeddings": ("POST", "/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "Hello"}),
    "embeddings for Ollama's clients": ("POST", "/api/embed", {"model": "openai/text-embedding-3-small", "input": "x"}),
    "pictures": ("POST", "/v1/images/generations", {"model": "openai/gpt-image-1", "prompt": "A cat"}),
    "speech": ("POST", "/voice/tts", {"engine": "openai", "text": "Hello"}),
    "a transcript": (
        "POST",
        "/voice/stt",
        {"engine": "openai", "audio": base64.b64encode(b"RIFF").decode(), "mimeType": "audio/wav"},
    ),
    "a count": ("POST", "/v1/messages/count_tokens", {"model": "anthropic/m", "messages": SAID}),
}
JSON = "Content-Type: application/json"
BEGUN = answer_head(JSON, "Transfer-Encoding: chunked")

FAULTS: dict[str, Script] = {
    "it dies": make_sending_script(),
    "it resets": make_sending_script(reset=True),
    "it dies in its headers": make_sending_script(BEGUN[:30]),
    "it dies after its headers": make_sending_script(BEGUN),
    "it dies in its body": make_sending_script(BEGUN, chunk(b'{"data": [')),
    "it resets in its body": make_sending_script(BEGUN, chunk(b'{"data": ['), reset=True),
    "its length cannot be": make_sending_script(answer_head(JSON, "Content-Length: -5")),
    "its body cannot be unpacked": make_sending_script(
        answer_head(JSON, "Content-Encoding: gzip", "Content-Length: 2") + b"{}"
    ),
    "its headers do not end": make_repeating_script(b"X-More: and more of it\r\n" * 100, b"HTTP/1.1 200 OK\r\n"),
    "its body does not end": make_repeating_script(chunk(b"x" * 50_000), BEGUN),
    "its error does not end": make_repeating_script(chunk(b"x" * 50_000), BEGUN.replace(b"200 OK", b"500 No")),
    "it redirects": make_sending_script(answer_head("Location: /", "Content-Length: 0", status="302 Found")),
    **{name: make_sending_script(sent) for name, sent in NO_HTTP.items()},
    **{name: make_sending_script(answer_head(JSON, "Connection: close") + sent) for name, sent in SHAPES.items()},
}
FINE: dict[str, set[str]] = {  # faults that are allowed there
    "pictures": {*SHAPES, "its body does not end"},  # passed on unchanged
    "models": {"a list"},  # as some hosts send it; entries that are not models are ignored
}
CODES = {"provider_unreachable", "upstream_truncated", "upstream_malformed", "provider_error"}


def code_of(body: Any) -> str:
    error = body["error"] if isinstance(body["error"], dict) else body
    code = error["code"] if "code" in error else error["details"]["error_code"]
    assert isinstance(code, str)
    return code


@pytest.mark.parametrize("task", TASKS)
async def test_a_failing_provider_is_reported_with_its_own_error_code(
    task: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Speech that breaks off ends without an error status: 200 has been sent already."""
    method, path, body = TASKS[task]
    caplog.set_level("INFO")
    scripts: list[Script] = []

    async def served(wire: Wire) -> None:
        await scripts[0](wire)

    async with run_wire_server(served) as provider:
        keys = {"OPENAI_API_KEY": "sk-12345678", "ANTHROPIC_API_KEY": "sk-12345678"}
        urls = {"OPENAI_BASE_URL": f"{provider.url}/v1", "ANTHROPIC_BASE_URL": provider.url}
        bounds = {"MAX_RETRIES": "0", "MAX_ANSWER_SIZE": "1MB"}
        for name, script in FAULTS.items():
            if name in FINE.get(task, ()):
                continue
            async with run_server(make_config(**keys, **urls, **bounds)) as server, asyncio.timeout(20):
                caplog.clear()
                scripts[:] = [script]
                answer = await server.request(method, path, body, CLIENT)
                if answer.status != 200:
                    assert answer.status == 502, (name, answer.status)
                    assert code_of(await answer.json()) in CODES, name
                else:
                    with pytest.raises(asyncio.IncompleteReadError):
                        pytest.fail(f"{name}: {await answer.body()!r}")
                await wait_until(lambda: not provider.wires)
            noise = [r for r in caplog.records if r.levelno >= logging.WARNING or r.exc_info]
            assert not noise, (name, [r.getMessage() for r in noise])
