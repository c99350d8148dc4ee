"""What a passed-through stream of Chat Completions gets so that strict clients can read it."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from llm.dialects.openai_chat.passthrough import passthrough_request, repair_document
from llm.engines.records import ENGINES
from llm.errors import EngineFailed
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.relay import relay, sse
from tests.support.wires import WIRES

HEAD: Final = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "system_fingerprint": "fp_1"}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def call(arguments: str, *, name: str | None = None, id: str | None = None, index: int = 0) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    wire = {"index": index, "function": function} if id is None else {"index": index, "id": id, "function": function}
    return chunk({"tool_calls": [{**wire, "type": "function"}]})


ROLE: Final = chunk({"role": "assistant", "content": ""})
STOP: Final = chunk({}, "stop")
COUNTS: Final = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
USAGE: Final = {**HEAD, "choices": [], "usage": COUNTS}
DONE: Final = "[DONE]"


def texts(objects: list[Any]) -> str:
    return "".join(c["delta"].get("content") or "" for one in objects for c in one["choices"])


def finishes(objects: list[Any]) -> list[str]:
    return [c["finish_reason"] for one in objects for c in one["choices"] if c["finish_reason"]]


@pytest.mark.parametrize("joined", [False, True], ids=["one read each", "one read"])
def test_a_good_stream_is_unchanged(joined: bool) -> None:
    pieces = sse(
        ROLE, chunk({"content": "Hi"}), chunk({"content": ' "name": "x" \\ud83d'}), chunk({"content": "!"}),
        call("", name="f", id="c1"), call('{"a"'), call(": 1}"), call("", name="f", id="c2", index=1), call("{}", index=1),
        chunk({}, "tool_calls"), USAGE, DONE,
    )  # fmt: skip
    assert relay("openai-chat", [b"".join(pieces)] if joined else pieces).sent == b"".join(pieces)


# --- requests ---


@pytest.mark.parametrize(
    ("engine", "model", "refused"),
    [
        ("openai", "gpt-5", True), ("openai", "gpt-5-mini", True), ("openai", "gpt-6.2", True), ("openai", "o3", True),
        ("openai", "o4-mini-2025-04-16", True), ("openai", "ft:gpt-5-mini:acme", True), ("openai", "gpt-5-chat-latest", True),
        ("openai", "gpt-4.1", False), ("openai", "gpt-4o", False), ("openai", "chatgpt-4o-latest", False),
        ("azure", "prod-gpt-5-mini", True), ("azure", "o3", True), ("azure", "my-gpt-4o", False),
        ("groq", "openai/gpt-oss-120b", False), ("xai", "grok-5", False), ("openrouter", "openai/gpt-5", False),
    ],
)  # fmt: skip
def test_max_tokens_is_renamed_for_a_model_that_refuses_it(engine: str, model: str, refused: bool) -> None:
    body = {"model": "x", "messages": [], "max_tokens": 5}
    sent = passthrough_request(body, model, ENGINES[engine])
    if not refused:
        assert sent.body == {**body, "model": model} and not sent.dropped
        return
    assert sent.body == {"model": model, "messages": [], "max_completion_tokens": 5}
    assert sent.dropped == ("max_tokens",)
    both = passthrough_request({**body, "max_completion_tokens": 7}, model, ENGINES[engine])
    assert both.body == {"model": model, "messages": [], "max_completion_tokens": 7}
    none = passthrough_request({**body, "max_tokens": None}, model, ENGINES[engine])
    assert none.body == {**body, "model": model, "max_tokens": None} and not none.dropped


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_renamed_max_tokens_is_named_in_the_answer(stream: bool) -> None:
    wire = WIRES["openai"]

    async def script(request: Request, connection: Connection) -> None:
        if stream:
            await connection.respond(wire.head + wire.delta("Hi") + wire.end, 200, wire.content_type)
        else:
            await connection.respond(wire.whole("Hi"))

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream))) as server:
            body = {"model": "openai/gpt-5", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
            answer = await server.post(
                "/v1/chat/completions", {**body, "stream": stream}, {"Authorization": f"Bearer {CLIENT_ID}"}
            )
            assert answer.status == 200
            assert answer.headers["X-Dropped-Fields"] == "max_tokens"
            await answer.body()
    assert upstream.requests[0].json["max_completion_tokens"] == 5
    assert "max_tokens" not in upstream.requests[0].json


# --- finish reasons ---


@pytest.mark.parametrize("joined", [False, True], ids=["one read each", "one read"])
def test_done_without_a_finish_reason_gets_one(joined: bool) -> None:
    """ai-sdk-done-is-not-an-end: a stream without a finish reason ends with an error there."""
    pieces = sse(ROLE, chunk({"content": "Hi"}), chunk({"content": " you"}), DONE)
    out = relay("openai-chat", [b"".join(pieces)] if joined else pieces)
    assert out.failure is None
    assert finishes(out.objects) == ["stop"]
    last = out.objects[-1]
    assert {name: last[name] for name in HEAD} == HEAD
    assert out.sent.endswith(b"data: [DONE]\n\n")
    assert out.sent.startswith(b"".join(pieces[:-1]))
    called = relay("openai-chat", sse(ROLE, call("{}", name="f", id="c1"), DONE))
    assert finishes(called.objects) == ["tool_calls"]


def test_done_without_anything_is_an_error() -> None:
    for pieces in (sse(ROLE, DONE), sse(ROLE, chunk({}, "whatever"), DONE)):
        out = relay("openai-chat", pieces)
        assert out.failure is not None
        assert finishes(out.objects) == [] and b"[DONE]" not in out.sent
    with pytest.raises(EngineFailed):
        repair_document(completion(None, content=""))


def test_a_finish_reason_is_sent_once() -> None:
    """langchain-openai-adds-everything-up: two chunks with ``stop`` are ``stopstop`` there."""
    again = chunk({"content": "!"}, "stop")
    out = relay("openai-chat", sse(ROLE, chunk({"content": "Hi"}), STOP, again, STOP, USAGE, DONE))
    assert finishes(out.objects) == ["stop"]
    assert texts(out.objects) == "Hi!"
    assert len(out.objects) == 5  # of the third finish reason nothing is left


def test_each_of_several_choices_has_its_finish_reason() -> None:
    ends = [{**HEAD, "choices": [{"index": n, "delta": {}, "finish_reason": "stop"}]} for n in range(3)]
    pieces = sse(ROLE, *ends, DONE)
    assert relay("openai-chat", pieces).sent == b"".join(pieces)


@pytest.mark.parametrize(
    ("raw", "known"), [("eos", "stop"), ("end_turn", "stop"), ("max_tokens", "length"), ("whatever", "stop")]
)
def test_a_finish_reason_that_clients_do_not_know_is_translated(raw: str, known: str) -> None:
    """semantic-kernel-unknown-finish-reason: any other than OpenAI's five is a ValueError there."""
    out = relay("openai-chat", sse(ROLE, chunk({"content": "Hi"}), chunk({}, raw), DONE))
    assert finishes(out.objects) == [known]
    assert out.objects[-1]["choices"][0]["native_finish_reason"] == raw


def test_a_finish_reason_that_means_an_error_ends_the_answer_with_one() -> None:
    out = relay("openai-chat", sse(ROLE, chunk({"content": "Hi"}), chunk({}, "error"), DONE))
    assert out.failure is not None
    assert finishes(out.objects) == []
    assert b"[DONE]" not in out.sent  # the handler writes the error and then the end


def completion(finish: str | None, **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi", **message}, "finish_reason": finish}
    return json.dumps({"id": "c1", "object": "chat.completion", "choices": [choice]}, indent=1).encode()


@pytest.mark.parametrize(
    ("raw", "known"), [("eos", "stop"), ("max_tokens", "length"), ("whatever", "stop"), (None, "stop")]
)
def test_a_finish_reason_of_a_whole_answer_is_one_that_clients_know(raw: str | None, known: str) -> None:
    """semantic-kernel-unknown-finish-reason: any other than OpenAI's five is a ValueError there, whole too."""
    [choice] = json.loads(repair_document(completion(raw)))["choices"]
    assert choice["finish_reason"] == known
    assert choice.get("native_finish_reason") == raw
    [choice] = json.loads(repair_document(completion(raw, tool_calls=[{"id": "c1"}])))["choices"]
    assert choice["finish_reason"] == (known if known == "length" else "tool_calls")
    with pytest.raises(EngineFailed):
        repair_document(completion("error"))


def test_a_good_whole_answer_is_unchanged() -> None:
    for finish in ("stop", "length", "tool_calls", "content_filter", "function_call"):
        raw = completion(finish, tool_calls=[{"function": {"arguments": '{"finish_reason": null}'}}])
        assert repair_document(raw) is raw


# --- usage ---


def test_running_totals_are_sent_once_at_the_end() -> None:
    """langchain-openai-adds-everything-up: usage in each of three chunks is counted three times there."""
    totals = [{**COUNTS, "completion_tokens": n, "total_tokens": 10 + n} for n in range(3)]
    first, second = chunk({"content": "Hi"}, usage=totals[0]), chunk({"content": " you"}, usage=totals[1])
    pieces = sse(ROLE, first, second, chunk({}, "stop", usage=totals[2]))
    for end in (sse(DONE), sse({**USAGE, "usage": totals[2]}, DONE), []):
        assert relay("openai-chat", [b"".join([*pieces, *end])]).sent == relay("openai-chat", [*pieces, *end]).sent
        out = relay("openai-chat", [*pieces, *end])
        assert [one["usage"] for one in out.objects if one.get("usage")] == [totals[2]]
        assert texts(out.objects) == "Hi you"
        assert finishes(out.objects) == ["stop"]
    unasked = relay("openai-chat", [*sse(ROLE, first, second, STOP, DONE)], True)
    assert not any(one.get("usage") for one in unasked.objects)


def test_usage_that_is_the_same_in_each_chunk_is_sent_once() -> None:
    chunks = [chunk({"content": "Hi"}, usage=COUNTS)] * 5
    out = relay("openai-chat", sse(ROLE, *chunks, STOP, DONE))
    assert [one["usage"] for one in out.objects if one.get("usage")] == [COUNTS]
    assert texts(out.objects) == "Hi" * 5


def test_a_finish_reason_in_each_chunk_is_sent_once() -> None:
    out = relay("openai-chat", sse(ROLE, *[chunk({"content": "Hi"}, "stop")] * 5, DONE))
    assert finishes(out.objects) == ["stop"]
    assert texts(out.objects) == "Hi" * 5


def test_usage_after_the_finish_reason_stays_where_it_is() -> None:
    """As OpenRouter sends it, in a chunk that has a choice."""
    pieces = sse(ROLE, chunk({"content": "Hi"}), STOP, chunk({"role": "assistant", "content": ""}, usage=COUNTS), DONE)
    assert relay("openai-chat", pieces).sent == b"".join(pieces)


def test_usage_beside_the_finish_reason_stays_there_and_is_not_repeated() -> None:
    pieces = sse(ROLE, chunk({"content": "Hi"}), chunk({}, "stop", usage=COUNTS))
    assert relay("openai-chat", [*pieces, *sse(DONE)]).sent == b"".join([*pieces, *sse(DONE)])
    assert relay("openai-chat", [*pieces, *sse(USAGE, DONE)]).sent == b"".join([*pieces, *sse(DONE)])


# --- tool calls ---


def names(objects: list[Any]) -> list[tuple[int, str]]:
    found = [c for one in objects for choice in one["choices"] for c in choice["delta"].get("tool_calls", ())]
    return [(one["index"], one["function"]["name"]) for one in found if "name" in one["function"]]


def test_a_name_in_each_piece_is_sent_once() -> None:
    """langchain-openai-adds-everything-up: a tool called f is called ``ff`` there."""
    pieces = [call("", name="f", id="c1"), call('{"a"', name="f", id="c1"), call(": 1}", name="f")]
    out = relay("openai-chat", sse(ROLE, *pieces, chunk({}, "tool_calls"), DONE))
    assert names(out.objects) == [(0, "f")]
    joined = "".join(
        c["function"]["arguments"]
        for one in out.objects
        for choice in one["choices"]
        for c in choice["delta"].get("tool_calls", ())
    )
    assert json.loads(joined) == {"a": 1}


def test_whole_calls_that_all_have_the_index_0_get_an_index_each() -> None:
    calls = (call('{"a": 1}', name="f", id="c1"), call('{"a": 2}', name="f", id="c2"), call("{}", name="g", id="c3"))
    out = relay("openai-chat", sse(ROLE, *calls, chunk({}, "tool_calls"), DONE))
    assert names(out.objects) == [(0, "f"), (1, "f"), (2, "g")]


def test_calls_without_ids_are_unchanged() -> None:
    """Nothing in such a stream says whether a name that comes again begins another call."""
    pieces = sse(ROLE, *[call('{"a": 1}', name="f")] * 3, chunk({}, "tool_calls"), DONE)
    assert relay("openai-chat", pieces).sent == b"".join(pieces)


def test_text_and_a_call_in_one_delta_are_sent_in_two() -> None:
    """haystack-text-beside-a-call: a chunk with both is a ValueError there."""
    both = chunk({"role": "assistant", "content": "Look:", **call("{}", name="f", id="c1")["choices"][0]["delta"]})
    out = relay("openai-chat", sse(both, chunk({}, "tool_calls"), DONE))
    deltas = [choice["delta"] for one in out.objects for choice in one["choices"]]
    assert not any(delta.get("content") and delta.get("tool_calls") for delta in deltas)
    assert texts(out.objects) == "Look:"
    assert names(out.objects) == [(0, "f")]
    nothing = chunk({"role": "assistant", "content": "", **call("{}", name="f", id="c1")["choices"][0]["delta"]})
    pieces = sse(nothing, chunk({}, "tool_calls"), DONE)
    assert relay("openai-chat", pieces).sent == b"".join(pieces)


# --- errors ---


@pytest.mark.parametrize("joined", [False, True], ids=["one read each", "one read"])
@pytest.mark.parametrize(
    "failed",
    [
        sse({"message": "It broke.", "code": 500}, event="error"),
        sse({"x_groq": {"error": {"message": "It broke."}}}),
        sse({**HEAD, "choices": [{"index": 0, "delta": {}, "error": {"message": "It broke."}}]}),
    ],
    ids=["named", "x_groq", "in the choice"],
)
def test_an_error_that_clients_do_not_look_for_is_followed_by_one_that_they_do(
    failed: list[bytes], joined: bool
) -> None:
    """openai-py-error-event-is-a-chunk: only an ``error`` key is seen there, the event's name is not."""
    pieces = [*sse(ROLE, chunk({"content": "Hi"})), *failed, *sse(DONE)]
    out = relay("openai-chat", [b"".join(pieces)] if joined else pieces)
    assert out.failure is not None and out.failure.message == "It broke."
    assert out.sent == b"".join(pieces[:-1])  # behind [DONE] clients would not read it


def test_an_error_that_clients_see_passes_alone() -> None:
    pieces = sse(ROLE, {"error": {"message": "It broke."}}, DONE)
    out = relay("openai-chat", pieces)
    assert out.failure is None and out.record.failure is None
    assert out.sent == b"".join(pieces)
