"""Signatures of tool calls are restored for clients that drop them."""

from __future__ import annotations

from typing import Any

from llm.chat.events import Event, Finished, PartEnded, ReasoningDelta, ToolCallDelta, ToolCallStarted
from llm.chat.messages import Message, Part, Reasoning, Text, ToolCall
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest
from llm.gateway.signature_cache import CachedSignatures, SignatureCache, SignatureRecorder

END = Finished("tool_calls")
KEEP = (ProviderMetadata("gemini", "google", {"thoughtSignature": "x" * 100}),)


def request_with(*calls: Part) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message("user", (Text("Go"),)), Message("assistant", calls)))


def test_x7_a_signature_is_restored_for_its_owner_only() -> None:
    cache = SignatureCache()
    remembering = SignatureRecorder(cache, "me")
    remembering.feed([ToolCallStarted(0, "c1", "f"), ToolCallDelta(0, "{}")])
    remembering.feed([PartEnded(0, KEEP), ToolCallStarted(1, "c2", "f", "server"), PartEnded(1, KEEP)])
    bare = request_with(ToolCall("c1", "f"), ToolCall("c2", "f"))
    assert cache.restore("me", bare).messages[1].parts == (ToolCall("c1", "f", metadata=KEEP), ToolCall("c2", "f"))
    assert cache.restore("you", bare) == bare


def test_signatures_sent_by_the_client_stay_unchanged() -> None:
    cache, own = SignatureCache(), (ProviderMetadata("openai-chat", None, {"index": 0}),)
    cache.put("me", "c1", CachedSignatures(KEEP))
    sealed = (ProviderMetadata("gemini", "google", {"thoughtSignature": "y"}),)
    request = cache.restore("me", request_with(ToolCall("c1", "f", metadata=own), ToolCall("c1", "f", metadata=sealed)))
    assert [part.metadata for part in request.messages[1].parts] == [(*KEEP, *own), sealed]


def test_t1_what_a_dialect_keeps_of_its_own_form_is_no_signature() -> None:
    """A Messages client sends a call back with ``caller``, which every call of this API has."""
    cache, usual = SignatureCache(), (ProviderMetadata("anthropic", "", {"caller": {"type": "direct"}}),)
    cache.put("me", "c1", CachedSignatures(KEEP))
    [call] = cache.restore("me", request_with(ToolCall("c1", "f", metadata=usual))).messages[1].parts
    assert call.metadata == (*KEEP, *usual)


def test_the_oldest_entries_are_removed_above_the_size_limit() -> None:
    cache = SignatureCache(max_size=1000)
    for n in range(50):
        cache.put("me", f"c{n}", CachedSignatures(KEEP))
    kept = [n for n in range(50) if cache.get("me", f"c{n}").metadata]
    assert kept == [*range(50 - len(kept), 50)] and 2 <= len(kept) <= 6
    cache.put("me", "c49", CachedSignatures(KEEP))  # storing the same entry again needs no more space
    assert [n for n in range(50) if cache.get("me", f"c{n}").metadata] == kept


def test_old_entries_are_removed() -> None:
    now = 0.0
    cache = SignatureCache(max_age=60, now=lambda: now)
    cache.put("me", "c1", CachedSignatures(KEEP))
    now = 60.0
    assert cache.get("me", "c1").metadata == KEEP
    now = 61.0
    assert cache.get("me", "c1") == CachedSignatures()


def test_t1_signed_reasoning_is_restored_before_its_call() -> None:
    cache, signed = SignatureCache(), (ProviderMetadata("anthropic", "anthropic", {"signature": "s"}),)
    remembering = SignatureRecorder(cache, "me")
    remembering.feed([ReasoningDelta(0, "I "), ReasoningDelta(0, "see."), PartEnded(0, signed)])
    remembering.feed([ReasoningDelta(1, "Unsigned."), PartEnded(1), ToolCallStarted(2, "c1", "f"), PartEnded(2)])
    remembering.feed([ToolCallStarted(3, "c2", "f"), PartEnded(3)])
    calls = (ToolCall("c1", "f"), ToolCall("c2", "f"))
    thought = Reasoning("I see.", signed)
    for echoed in ((), (Reasoning("I see. Unsigned."),), (thought,)):
        request = cache.restore("me", request_with(*echoed, Text("So."), *calls))
        assert request.messages[1].parts == (thought, Text("So."), *calls)
    assert cache.restore("you", request_with(*calls)) == request_with(*calls)


def signed(mark: str) -> Any:
    return (ProviderMetadata("anthropic", "anthropic", {"signature": mark}),)


def record(cache: SignatureCache, *events: Event) -> None:
    SignatureRecorder(cache, "me").feed([*events, END])


def call_events(index: int, id: str, arguments: str, keep: Any = ()) -> list[Event]:
    return [ToolCallStarted(index, id, "f"), ToolCallDelta(index, arguments), PartEnded(index, keep)]


def test_x7_a_reused_id_restores_nothing_of_another_call() -> None:
    cache = SignatureCache()
    for city in ("Paris", "Rome"):
        record(
            cache,
            ReasoningDelta(0, f"{city}?"),
            PartEnded(0, signed(city)),
            *call_events(1, "functions.f:0", f'{{"city": "{city}", "n": 1}}', signed(city)),
        )
    for city in ("Paris", "Rome"):
        bare = ToolCall("functions.f:0", "f", f'{{"n":1,"city":"{city}"}}')  # in the client's spelling of the JSON
        thought, call = cache.restore("me", request_with(bare)).messages[1].parts
        assert thought == Reasoning(f"{city}?", signed(city)) and call.metadata == signed(city)
    other = cache.restore("me", request_with(ToolCall("functions.f:0", "f", '{"city": "Oslo", "n": 1}')))
    assert [type(part) for part in other.messages[1].parts] == [ToolCall]
    thinks_otherwise = request_with(
        Reasoning("Something else."), ToolCall("functions.f:0", "f", '{"city": "Rome", "n": 1}')
    )
    assert cache.restore("me", thinks_otherwise).messages[1].parts[0] == Reasoning("Something else.")


def test_t1_reasoning_is_restored_at_its_place() -> None:
    cache = SignatureCache()
    thoughts = [Reasoning(mark, signed(mark)) for mark in "abc"]
    record(
        cache,
        *(ReasoningDelta(0, "a"), PartEnded(0, signed("a"))),
        *call_events(1, "c1", "{}"),
        *(ReasoningDelta(2, "b"), PartEnded(2, signed("b"))),
        *call_events(3, "c2", "{}"),
        *(ReasoningDelta(4, "c"), PartEnded(4, signed("c"))),
    )
    one, two = ToolCall("c1", "f"), ToolCall("c2", "f")
    parts = cache.restore("me", request_with(Text("So."), one, two)).messages[1].parts
    assert parts == (thoughts[0], Text("So."), one, thoughts[1], two, thoughts[2])


def test_t2_a_call_without_an_id_is_identified_by_its_reasoning() -> None:
    """Ollama's own client drops ids, but it sends back the reasoning text."""
    cache = SignatureCache()
    record(
        cache, ReasoningDelta(0, "Paris, "), ReasoningDelta(0, "then."), PartEnded(0), *call_events(1, "c1", "{}", KEEP)
    )
    lost = ToolCall("call_1_0", "f")
    again = cache.restore("me", request_with(Reasoning("Paris, then."), lost))
    assert again.messages[1].parts == (Reasoning("Paris, then."), ToolCall("call_1_0", "f", metadata=KEEP))
    for parts in ((lost,), (Reasoning("Rome."), lost), (Reasoning("Paris, then."), ToolCall("call_1_0", "g"))):
        assert cache.restore("me", request_with(*parts)) == request_with(*parts)
