"""How an answer ended: refusals, unknown ends and errors of every engine, as every client dialect tells them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.field_cases import field_case
from tests.support.one_answer import CLIENTS, Seen, ask

BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
USAGE: dict[str, Any] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def gemini(reason: Any, message: str | None = None, *parts: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [*parts]}, "finishReason": reason}
    if message:
        candidate["finishMessage"] = message
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    return {"responseId": "r1", "modelVersion": "g", "candidates": [candidate], "usageMetadata": usage}


def chat(reason: Any, text: str = "half an answer", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason, **more}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


def claude(reason: str, text: str = "", **more: Any) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    content = [{"type": "text", "text": text}]
    return {**head, "content": content, "stop_reason": reason, "usage": {"input_tokens": 1, "output_tokens": 1}, **more}


def response(reason: str | None, text: str = "The answer.") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "error": None, "output": [item]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return {**head, "status": "incomplete", "incomplete_details": {"reason": reason}, "usage": usage}


def read_end(client: str, seen: Seen) -> str:
    """Returns how the client was told the end, in one of its own words, or "error"."""
    last = seen.objects[-1]
    if seen.status != 200 or any("error" in one and one["error"] for one in seen.objects):
        return "error"
    match client:
        case "native":
            ends = [one for one in seen.objects if "finishReason" in one]
            return str(ends[-1]["finishReason"])
        case "openai-chat":
            return str(next(c["finish_reason"] for o in seen.objects for c in o["choices"] if c["finish_reason"]))
        case "openai-responses":
            response = last.get("response", last)
            if response["status"] == "failed":
                return "error"
            return str((response["incomplete_details"] or {}).get("reason") or response["status"])
        case "anthropic":
            if any(one.get("type") == "error" for one in seen.objects):
                return "error"
            return str(next(r for o in seen.objects for p in (o, o.get("delta", {})) if (r := p.get("stop_reason"))))
    return str(last["done_reason"])


FILTERED = {
    "native": "content_filter", "openai-chat": "content_filter", "openai-responses": "content_filter",
    "anthropic": "refusal", "ollama": "content_filter", "generate": "content_filter",
}  # fmt: skip
CUT = {
    "native": "length", "openai-chat": "length", "openai-responses": "max_output_tokens", "anthropic": "max_tokens",
    "ollama": "length", "generate": "length",
}  # fmt: skip


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "reason", ["MODEL_ARMOR", "ESCALATION", "NO_IMAGE", "IMAGE_OTHER", "SAFETY", "IMAGE_PROHIBITED_CONTENT"]
)
async def test_nw_03_nw_04_nw_06_a_blocked_answer_of_gemini_is_a_refusal_in_its_words(
    reason: str, client: str, stream: bool
) -> None:
    seen = await ask(client, "google/gemini-4-argon", gemini(reason, "why it stopped"), stream=stream)
    assert (seen.status, read_end(client, seen)) == (200, FILTERED[client])
    assert "why it stopped" in seen.text and reason in seen.text


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("reason", ["OTHER", "PUP_LIMITED_DISABLED", "FINISH_REASON_UNSPECIFIED", "SOMETHING_NEW", 5])
async def test_gw_12_nw_05_an_unknown_end_without_output_is_an_error(reason: Any, client: str, stream: bool) -> None:
    for parts in ((), ({"text": "Hm.", "thought": True},)):
        seen = await ask(client, "google/gemini-2.5-flash-image", gemini(reason, "why", *parts), stream=stream)
        assert read_end(client, seen) == "error"
        assert ("OTHER" if reason == 5 else str(reason)) in seen.text and "why" in seen.text
        assert len(seen.requests) == 1  # it was paid for, and is not asked again


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
async def test_gw_12_an_unknown_end_behind_a_text_keeps_the_text_and_is_named(client: str, stream: bool) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("google/gemini-2.5-flash", gemini("OTHER", None, {"text": "half"})),
        ("anthropic/claude-sonnet-4-5", claude("OTHER", "half")),
    ]
    if client != "openai-chat":
        bodies.append(("together/x", chat("OTHER", "half")))
    for model, body in bodies:
        if model.startswith(client):
            continue
        seen = await ask(client, model, body, stream=stream)
        assert read_end(client, seen) in ("other", "stop", "completed", "end_turn")
        assert "half" in seen.text and "OTHER" in seen.text


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "openai-chat"])
@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("abort", "error"), ("network_error", "error"), ("malformed_model_output", "error"), ("ERROR", "error"),
        ("content_filtered", "filtered"), ("guardrail_intervened", "filtered"), ("sensitive", "filtered"),
        ("model_context_window_exceeded", "cut"), ("max_length", "cut"),
    ],
)  # fmt: skip
async def test_nw_38_to_41_the_ends_of_compatible_hosts_are_mapped(
    word: str, end: str, client: str, stream: bool
) -> None:
    seen = await ask(client, "together/x", chat(word), stream=stream)
    expected = {"error": "error", "filtered": FILTERED[client], "cut": CUT[client]}[end]
    found = "error" if client == "native" and '"finishReason": "error"' in seen.text else read_end(client, seen)
    assert found == expected or (end == "cut" and found == word == "model_context_window_exceeded")
    assert end == "cut" or word in seen.text


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "openai-responses"])
@pytest.mark.parametrize("reason", ["max_messages", "steered", "something_new", None])
async def test_nw_42_an_incomplete_response_is_never_a_normal_end(
    reason: str | None, client: str, stream: bool
) -> None:
    seen = await ask(client, "openai/gpt-5.5-pro", response(reason), stream=stream)
    assert (seen.status, read_end(client, seen)) == (200, CUT[client])


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "anthropic"])
async def test_nw_44_why_claude_refused_is_told(client: str, stream: bool) -> None:
    body = field_case("nw-44")["provider_response"]["body"]
    seen = await ask(client, "anthropic/claude-opus-5-5", body, stream=stream)
    assert (seen.status, read_end(client, seen)) == (200, FILTERED[client])
    assert "because X" in seen.text and "cyber" in seen.text
    if client == "openai-chat":
        choices = [choice for one in seen.objects for choice in one["choices"]]
        assert "because X" in [choice.get("message", choice.get("delta"))["refusal"] for choice in choices
                               if choice.get("message", choice.get("delta")).get("refusal")]  # fmt: skip
    if client == "openai-responses":
        last = seen.objects[-1]
        [item] = last.get("response", last)["output"]
        assert item["content"] == [{"type": "refusal", "refusal": "because X"}]
    if client == "native":
        end = next(one for one in seen.objects if "finishDetails" in one)
        assert end["finishDetails"] == {"reason": "refusal", "category": "cyber", "explanation": "because X"}


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("name", ["nw-03", "nw-05", "nw-06", "nw-38", "nw-40", "nw-42", "gw-12"])
async def test_field_cases_of_ends_that_are_no_normal_end(name: str, stream: bool) -> None:
    case = field_case(name)
    clients = [word.strip() for word in case["client_dialect"].split(",")]
    for client in clients:
        asked = {**case["request"]} if client in ("openai-chat", "anthropic") else {"model": case["request"]["model"]}
        model = asked.pop("model")
        body = case["provider_response"]["body"]
        seen = await ask(client, model, body, stream=stream, **asked)
        expected = {
            "nw-38": "error", "gw-12": "error", "nw-05": "error", "nw-42": CUT[client],
        }.get(name, FILTERED[client])  # fmt: skip
        assert read_end(client, seen) == expected


@pytest.mark.parametrize("stream", BOTH)
async def test_what_a_filter_of_azure_found_is_told(stream: bool) -> None:
    results = {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}}
    body = chat("content_filter", "half", content_filter_results=results)
    seen = await ask("anthropic", "together/x", body, stream=stream)
    assert '"stop_details": {"type": "refusal", "category": "hate", "explanation": null}' in seen.text


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
async def test_gw_27_the_stop_sequence_that_ended_an_answer_is_told(client: str, stream: bool) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("anthropic/claude-sonnet-4-5", claude("stop_sequence", "a", stop_sequence="END")),
        ("together/x", chat("stop", "a", stop_reason="END")),  # vLLM
        ("together/x", chat("stop", "a", matched_stop="END")),  # SGLang
    ]
    for model, body in bodies:
        if client == "openai-chat" and model.startswith("together"):
            continue
        seen = await ask(client, model, body, stream=stream)
        if client == "anthropic":
            assert read_end(client, seen) == "stop_sequence" and '"stop_sequence": "END"' in seen.text
        elif client == "native":
            assert '"stopSequence": "END"' in seen.text
        elif client in ("ollama", "generate", "openai-responses"):
            assert '"stop_sequence": "END"' in seen.text
        else:
            assert '"finish_reason": "stop"' in seen.text and '"stop_reason": "END"' in seen.text
    # The id of a token is no stop sequence.
    seen = await ask("anthropic", "together/x", chat("stop", "a", stop_reason=128009), stream=stream)
    assert read_end("anthropic", seen) == "end_turn"
    # Words on an answer that was merely cut are no refusal.
    cut = await ask(
        "anthropic", "google/gemini-2.5-flash", gemini("MAX_TOKENS", "too long", {"text": "a"}), stream=stream
    )
    assert read_end("anthropic", cut) == "max_tokens" and "too long" not in cut.text
