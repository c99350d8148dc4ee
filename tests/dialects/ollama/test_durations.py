"""The durations in the last object of an answer to an Ollama client, which clients divide by."""

from __future__ import annotations

from typing import Any

import ollama
import pytest

from llm.chat.events import Finished, Timing
from llm.dialects.ollama.client_response import write_durations
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT_ID, make_config, run_server
from tests.support.one_answer import ask

BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
NAMES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
CHAT: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", ["ollama", "generate"])
async def test_cl_07_the_last_object_has_the_durations(client: str, stream: bool) -> None:
    seen = await ask(client, "openai/gpt-4.1", CHAT, stream=stream)
    *before, last = seen.objects
    assert all(type(last[name]) is int and last[name] >= 0 for name in NAMES)
    assert last["total_duration"] > 0 and last["eval_duration"] > 0
    assert last["total_duration"] >= last["prompt_eval_duration"] + last["load_duration"]
    assert (last["prompt_eval_duration"] > 0) is stream  # the engine's first token, in a stream
    assert not any(name in one for one in before for name in NAMES)


async def test_cl_07_the_field_case_ends_with_durations() -> None:
    [body] = field_case("cl-07")["provider_response"]["events"]
    seen = await ask("ollama", "google/gemini-3", body, stream=True)
    last = seen.objects[-1]
    assert all(type(last[name]) is int for name in NAMES) and last["eval_count"] / last["eval_duration"] > 0


def test_durations_are_nanoseconds_and_zero_where_unknown() -> None:
    assert write_durations(Timing(2.5, 1.0)) == {
        "total_duration": 2_500_000_000,
        "load_duration": 0,
        "prompt_eval_duration": 1_000_000_000,
        "eval_duration": 1_500_000_000,
    }
    assert write_durations(None) == dict.fromkeys(NAMES[:3], 0) | {"eval_duration": 1}
    assert Finished("stop", timing=Timing(1.0)) == Finished("stop")


@pytest.mark.parametrize("unload", [False, True])
async def test_cl_07_a_request_to_load_or_unload_a_model_has_its_time(unload: bool) -> None:
    async with run_server(make_config()) as server:
        client = ollama.AsyncClient(host=server.url, headers={"Authorization": f"Bearer {CLIENT_ID}"})
        more: dict[str, Any] = {"keep_alive": 0} if unload else {}
        try:
            chat = await client.chat(model="demo/demo-chat", messages=[], **more)
            text = await client.generate(model="demo/demo-chat", prompt="", **more)
        finally:
            await client._client.aclose()
    for one in (chat, text):
        assert one.created_at and one.done_reason == ("unload" if unload else "load")
