"""What a passed-through stream of Messages gets so that strict clients can read it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.relay import relay, sse

MESSAGE: Final = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}


def event(type: str, **fields: Any) -> bytes:
    return b"".join(sse({"type": type, **fields}, event=type))


def start(**usage: int) -> bytes:
    return event("message_start", message={**MESSAGE, "usage": {"output_tokens": 1, **usage}})


def called(*pieces: str) -> list[bytes]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    deltas = [
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": one}) for one in pieces
    ]
    return [
        event("content_block_start", index=0, content_block=block), *deltas, event("content_block_stop", index=0),
    ]  # fmt: skip


def end(stop: str, **usage: int) -> list[bytes]:
    delta = event(
        "message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 5, **usage}
    )
    return [delta, event("message_stop")]


@pytest.mark.parametrize("joined", [False, True], ids=["one read each", "one read"])
@pytest.mark.parametrize("pieces", [('{"path": ',), ('{"a"', ": 1}", "}"), ('{"a": 1}{"a": 1}',)])
def test_arguments_that_are_not_one_json_value_are_an_error(pieces: tuple[str, ...], joined: bool) -> None:
    """anthropic-broken-tool-json: the Python SDK hands over an empty or a cut object and says ``end_turn``."""
    sent = [start(input_tokens=1), *called(*pieces), *end("tool_use", input_tokens=1)]
    out = relay("anthropic", [b"".join(sent)] if joined else sent)
    assert out.failure is not None and "'f'" in out.failure.message
    assert b"message_delta" not in out.sent and b"message_stop" not in out.sent


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "pause_turn", "model_context_window_exceeded"])
def test_arguments_of_an_interrupted_answer_may_be_cut(stop: str) -> None:
    sent = [start(input_tokens=1), *called('{"path": '), *end(stop, input_tokens=1)]
    out = relay("anthropic", sent)
    assert out.failure is None
    assert out.sent == b"".join(sent)


def test_a_good_call_and_one_without_arguments_are_unchanged() -> None:
    for pieces in (('{"a"', ": 1}"), (), ("",)):
        sent = [start(input_tokens=1), *called(*pieces), *end("tool_use", input_tokens=1)]
        assert relay("anthropic", sent).sent == b"".join(sent)
