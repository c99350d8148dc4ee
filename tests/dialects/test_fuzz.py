"""Dialects raise only ``LLMError`` for any input of providers and clients."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.request.schema import Schemas
from llm.chat.events import Event, Failed
from llm.chat.grammar import Grammar
from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest
from llm.dialects.registry import CLIENT_DIALECTS, ENGINE_DIALECTS
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.errors import LLMError
from llm.wire.frames import Frame
from llm.wire.json_codec import dump_bytes
from tests.support.bodies import BODIES
from tests.support.paths import SAMPLES

SCHEMAS: Final = Schemas()
TIMES: Final = int(os.environ.get("FUZZ", "1"))  # the default number of examples
ENGINE_OF: Final = {  # a dialect's sample, read for one of its engines
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "ollama": "ollama",
}
STREAMS: Final = sorted(
    str(path.relative_to(SAMPLES)) for path in SAMPLES.glob("*/*") if path.suffix in (".sse", ".ndjson")
)

HUGE: Final = (10**40, -(10**40), 2**63, -1, 0, 1e308, -0.0, 10**4000)
NAMES: Final = [
    "type",
    "text",
    "content",
    "role",
    "index",
    "delta",
    "id",
    "name",
    "arguments",
    "function",
    "tool_calls",
    "input",
    "output",
    "error",
    "message",
    "usage",
    "parts",
    "choices",
    "finish_reason",
    "thinking",
    "signature",
    "annotations",
    "keep",
    "data",
    "status",
    "candidates",
]
HALVES: Final = (chr(0xD83D), chr(0xDE00), "a" + chr(0xDFFF))  # characters that JSON writes as a surrogate pair
LEAVES: Final = (
    st.none() | st.booleans() | st.sampled_from((*HUGE, *HALVES)) | st.text(max_size=4) | st.sampled_from(NAMES)
)
BOTTOMLESS: Final = (
    "[" * 100_000,
    '{"type":' * 100_000,
    '{"a":' + "9" * 5000 + "}",
    "NaN",
    "\ufeff{}",
    '{"a":1}{"a":2}',
)
ODD: Final = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)


class Draw(Protocol):
    def draw(self, strategy: st.SearchStrategy[Any]) -> Any: ...


def deep(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"content": value}
    return value


def mutate(value: Any, data: Draw) -> Any:
    """Replaces, removes, wraps or duplicates one to three values."""
    value = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return value
        holder, key = data.draw(st.sampled_from(places))
        match data.draw(st.sampled_from(["replace", "null", "take", "wrap", "twice", "nest"])):
            case "replace":
                holder[key] = data.draw(ODD)
            case "null":
                holder[key] = None
            case "take":
                del holder[key]
            case "wrap":
                holder[key] = data.draw(st.sampled_from([lambda one: [one], lambda one: {"text": one}]))(holder[key])
            case "twice":
                holder[key] = [holder[key], holder[key]]
            case "nest":
                holder[key] = deep(100)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in [*value] if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


# --- what providers send


def get_frames(name: str) -> list[Frame]:
    framing = ENGINE_DIALECTS[name.partition("/")[0]].create_framing()
    return [*framing.feed((SAMPLES / name).read_bytes()), *framing.close()]


def get_engine(name: str) -> Engine:
    return ENGINES[ENGINE_OF[name.partition("/")[0]]]


def mutate_frames(frames: list[Frame], data: Draw) -> list[Frame]:
    """Duplicates, removes, mutates or reorders some frames."""
    frames = [*frames]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(frames) - 1))
        match data.draw(st.sampled_from(["mutate", "mutate", "mutate", "drop", "again", "swap", "text"])):
            case "mutate":
                with suppress(ValueError, RecursionError):  # ``[DONE]``, or what an earlier turn made of it
                    value = mutate(json.loads(frames[at].data), data)
                    frames[at] = Frame(frames[at].event, json.dumps(value))
            case "drop":
                del frames[at]
            case "again":
                frames.insert(data.draw(st.integers(0, len(frames))), frames[at])
            case "swap":
                frames.insert(data.draw(st.integers(0, len(frames) - 1)), frames.pop(at))
            case "text":
                frames[at] = Frame(frames[at].event, data.draw(st.text(max_size=8) | st.sampled_from(BOTTOMLESS)))
        if not frames:
            break
    return frames


def read_frames(frames: list[Frame], name: str) -> list[Event]:
    """Reads frames until an error; the error becomes the last event."""
    dialect = ENGINE_DIALECTS[name.partition("/")[0]]
    reader = dialect.create_reader(get_engine(name))
    events: list[Event] = []
    try:
        for frame in frames:
            events += reader.feed(frame)
            if reader.done:
                return events
        events += reader.close()
    except LLMError as error:
        events.append(Failed(error))
    return events


ASKED: Final = ChatRequest(model="m", messages=(Message("user", (Text("Hello"),)),), stream=True)


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
@settings(max_examples=60 * TIMES, deadline=None)
def test_s8_mutated_frames_raise_only_llm_errors(name: str, data: st.DataObject) -> None:
    """The events keep the grammar and can be written in every client dialect."""
    events = read_frames(mutate_frames(get_frames(name), data), name)
    grammar = Grammar()
    grammar.feed(events)
    for dialect in CLIENT_DIALECTS.values():
        writer = dialect.create_writer(ASKED, 0)
        for event in events:
            assert all(isinstance(piece, bytes) for piece in writer.feed([event]))


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
@settings(max_examples=25 * TIMES, deadline=None)
def test_s8_a_mutated_whole_answer_raises_only_llm_errors(name: str, data: st.DataObject) -> None:
    dialect, engine = ENGINE_DIALECTS[name.partition("/")[0]], get_engine(name)
    frames = [frame for frame in get_frames(name) if frame.data.startswith("{")]
    value = mutate(json.loads(data.draw(st.sampled_from(frames)).data), data)
    for body in (value, value.get("response"), [value]) if isinstance(value, dict) else (value,):
        with suppress(LLMError):
            reply = dialect.read_reply(body, engine)
            for client in CLIENT_DIALECTS.values():
                dump_bytes(client.write_reply(reply, ASKED, 0))
        assert isinstance(dialect.read_error(500, json.dumps(body).encode(), engine), LLMError)
    for text in BOTTOMLESS:
        assert isinstance(dialect.read_error(400, text.encode(), engine), LLMError)


# --- what clients send


@pytest.mark.parametrize("name", BODIES)
def test_the_unchanged_bodies_are_read(name: str) -> None:
    dialect, schema, body = BODIES[name]
    SCHEMAS.check(schema, body)
    assert dialect.read_request(body).messages


@pytest.mark.parametrize("name", BODIES)
@given(data=st.data())
@settings(max_examples=150 * TIMES, deadline=None)
def test_s8_a_mutated_request_raises_only_llm_errors(name: str, data: st.DataObject) -> None:
    """Neither does an engine dialect that writes the request."""
    dialect, schema, body = BODIES[name]
    body = mutate(body, data)
    with suppress(LLMError):
        SCHEMAS.check(schema, body)
        request = dialect.read_request(body)
        for engine, write in _writers():
            with suppress(LLMError):
                dump_bytes(write(request, engine).body)


def _writers() -> list[tuple[Engine, Callable[[ChatRequest, Engine], Any]]]:
    return [(ENGINES[engine], ENGINE_DIALECTS[name].write_request) for name, engine in ENGINE_OF.items()]
