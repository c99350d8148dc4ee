"""Recorded text completions of OpenAI, Azure, Together, vLLM and Mistral, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from llm.chat.reply import Reply, collect
from llm.dialects.openai_chat import completions
from llm.engines.engine import Engine
from llm.engines.task_support import COMPLETIONS
from llm.errors import LLMError
from llm.upstream.decoder import Decoder
from tests.support.recordings import Recording, recordings

ENGINE = Engine(name="custom", label="Custom", dialect="openai-chat", completions=COMPLETIONS)
PROVIDERS = ("azure", "openai", "together", "vllm", "mistral")


def _recorded() -> Iterator[Recording]:
    for recording in recordings():
        if recording.api in ("completions", "fim") and recording.provider in PROVIDERS:
            yield recording


def _read(recording: Recording) -> Reply:
    got = recording.exchanges[0][1]
    if not got.is_stream:
        return completions.read_reply(json.loads(got.body), ENGINE)
    decoder = Decoder(completions, ENGINE, 1 << 20)
    events = [*decoder.feed(got.body)]
    if not decoder.done:
        events += decoder.close()
    assert decoder.failure is None
    return collect(events)


def test_every_recorded_completion_is_read() -> None:
    count = 0
    for recording in _recorded():
        got = recording.exchanges[0][1]
        if got.status != 200:
            with pytest.raises(LLMError):
                raise completions.read_error(got.status, got.body, ENGINE)
            continue
        reply = _read(recording)
        assert reply.text.strip() and reply.finish.reason in ("stop", "length"), recording.name
        raw = got.body.decode()
        assert not got.is_stream or raw.count("text") or raw.count("content"), recording.name
        count += 1
    assert count >= 9


def test_every_recorded_request_is_read() -> None:
    for recording in _recorded():
        body = recording.exchanges[0][0].body
        request = completions.read_request(body)
        prompt = body["prompt"]
        if isinstance(prompt, str):
            [message] = request.messages
            assert "".join(getattr(part, "text", "") for part in message.parts) == prompt
        assert request.suffix == body.get("suffix")
        assert request.stream == bool(body.get("stream"))
