"""What engines want back beside a call, for clients that drop it."""

from __future__ import annotations

from typing import Any

from llm.chat.events import Event, Finished, PartEnded, ReasoningDelta, ToolCallDelta, ToolCallStarted
from llm.chat.messages import Message, Part, Reasoning, Text, ToolCall
from llm.chat.provider_metadata import Opaque
from llm.chat.request import ChatRequest
from llm.gateway.signature_cache import Memo, Remembered, Remembering

END = Finished("tool_calls")
KEEP = (Opaque("gemini", "google", {"thoughtSignature": "x" * 100}),)


def asked(*calls: Part) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message("user", (Text("Go"),)), Message("assistant", calls)))


def test_x7_a_bare_call_is_completed_and_only_its_owner_s() -> None:
    memo = Memo()
    remembering = Remembering(memo, "me")
    remembering.feed([ToolCallStarted(0, "c1", "f"), ToolCallDelta(0, "{}")])
    remembering.feed([PartEnded(0, KEEP), ToolCallStarted(1, "c2", "f", "server"), PartEnded(1, KEEP)])
    bare = asked(ToolCall("c1", "f"), ToolCall("c2", "f"))
    assert memo.completed("me", bare).messages[1].parts == (ToolCall("c1", "f", keep=KEEP), ToolCall("c2", "f"))
    assert memo.completed("you", bare) == bare


def test_what_a_client_brought_back_is_left_as_it_is() -> None:
    memo, own = Memo(), (Opaque("openai-chat", None, {"index": 0}),)
    memo.remember("me", "c1", Remembered(KEEP))
    sealed = (Opaque("gemini", "google", {"thoughtSignature": "y"}),)
    request = memo.completed("me", asked(ToolCall("c1", "f", keep=own), ToolCall("c1", "f", keep=sealed)))
    assert [part.keep for part in request.messages[1].parts] == [(*KEEP, *own), sealed]


def test_the_oldest_are_forgotten_when_there_is_too_much() -> None:
    memo = Memo(max_size=1000)
    for n in range(50):
        memo.remember("me", f"c{n}", Remembered(KEEP))
    kept = [n for n in range(50) if memo.recall("me", f"c{n}").keep]
    assert kept == [*range(50 - len(kept), 50)] and 2 <= len(kept) <= 6
    memo.remember("me", "c49", Remembered(KEEP))  # the same again takes no more room
    assert [n for n in range(50) if memo.recall("me", f"c{n}").keep] == kept


def test_what_is_old_is_forgotten() -> None:
    now = 0.0
    memo = Memo(max_age=60, now=lambda: now)
    memo.remember("me", "c1", Remembered(KEEP))
    now = 60.0
    assert memo.recall("me", "c1").keep == KEEP
    now = 61.0
    assert memo.recall("me", "c1") == Remembered()


def test_t1_signed_thoughts_come_back_before_the_call_that_came_of_them() -> None:
    memo, signed = Memo(), (Opaque("anthropic", "anthropic", {"signature": "s"}),)
    remembering = Remembering(memo, "me")
    remembering.feed([ReasoningDelta(0, "I "), ReasoningDelta(0, "see."), PartEnded(0, signed)])
    remembering.feed([ReasoningDelta(1, "Unsigned."), PartEnded(1), ToolCallStarted(2, "c1", "f"), PartEnded(2)])
    remembering.feed([ToolCallStarted(3, "c2", "f"), PartEnded(3)])
    calls = (ToolCall("c1", "f"), ToolCall("c2", "f"))
    thought = Reasoning("I see.", signed)
    for echoed in ((), (Reasoning("I see. Unsigned."),), (thought,)):
        request = memo.completed("me", asked(*echoed, Text("So."), *calls))
        assert request.messages[1].parts == (thought, Text("So."), *calls)
    assert memo.completed("you", asked(*calls)) == asked(*calls)


def signed(mark: str) -> Any:
    return (Opaque("anthropic", "anthropic", {"signature": mark}),)


def told(memo: Memo, *events: Event) -> None:
    Remembering(memo, "me").feed([*events, END])


def called(index: int, id: str, arguments: str, keep: Any = ()) -> list[Event]:
    return [ToolCallStarted(index, id, "f"), ToolCallDelta(index, arguments), PartEnded(index, keep)]


def test_x7_an_id_that_a_host_gives_again_and_again_brings_back_nothing_of_another_call() -> None:
    memo = Memo()
    for city in ("Paris", "Rome"):
        told(
            memo,
            ReasoningDelta(0, f"{city}?"),
            PartEnded(0, signed(city)),
            *called(1, "functions.f:0", f'{{"city": "{city}", "n": 1}}', signed(city)),
        )
    for city in ("Paris", "Rome"):
        bare = ToolCall("functions.f:0", "f", f'{{"n":1,"city":"{city}"}}')  # as a client spells it
        thought, call = memo.completed("me", asked(bare)).messages[1].parts
        assert thought == Reasoning(f"{city}?", signed(city)) and call.keep == signed(city)
    other = memo.completed("me", asked(ToolCall("functions.f:0", "f", '{"city": "Oslo", "n": 1}')))
    assert [type(part) for part in other.messages[1].parts] == [ToolCall]
    thinks_otherwise = asked(Reasoning("Something else."), ToolCall("functions.f:0", "f", '{"city": "Rome", "n": 1}'))
    assert memo.completed("me", thinks_otherwise).messages[1].parts[0] == Reasoning("Something else.")


def test_t1_each_thought_comes_back_where_it_was() -> None:
    memo = Memo()
    thoughts = [Reasoning(mark, signed(mark)) for mark in "abc"]
    told(
        memo,
        *(ReasoningDelta(0, "a"), PartEnded(0, signed("a"))),
        *called(1, "c1", "{}"),
        *(ReasoningDelta(2, "b"), PartEnded(2, signed("b"))),
        *called(3, "c2", "{}"),
        *(ReasoningDelta(4, "c"), PartEnded(4, signed("c"))),
    )
    one, two = ToolCall("c1", "f"), ToolCall("c2", "f")
    parts = memo.completed("me", asked(Text("So."), one, two)).messages[1].parts
    assert parts == (thoughts[0], Text("So."), one, thoughts[1], two, thoughts[2])


def test_t2_a_call_without_its_id_is_known_by_what_was_thought() -> None:
    """Ollama's own client drops ids; what it was told of the thoughts it brings back."""
    memo = Memo()
    told(memo, ReasoningDelta(0, "Paris, "), ReasoningDelta(0, "then."), PartEnded(0), *called(1, "c1", "{}", KEEP))
    lost = ToolCall("call_1_0", "f")
    again = memo.completed("me", asked(Reasoning("Paris, then."), lost))
    assert again.messages[1].parts == (Reasoning("Paris, then."), ToolCall("call_1_0", "f", keep=KEEP))
    for parts in ((lost,), (Reasoning("Rome."), lost), (Reasoning("Paris, then."), ToolCall("call_1_0", "g"))):
        assert memo.completed("me", asked(*parts)) == asked(*parts)
