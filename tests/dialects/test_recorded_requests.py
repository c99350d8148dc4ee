"""Every recorded request stays the same if read from a client and written to an engine of its dialect (T12).

Where a wire has two forms of the same request, one of them is written. Each such pair has a function here that
normalises both forms, and each function must be needed by some recording.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from llm.dialects.registry import CLIENT_DIALECTS, ENGINE_DIALECTS
from llm.engines.engine import Engine, Quirks
from llm.errors import LLMError
from tests.support.recordings import Case, cases

Body = dict[str, Any]

WIRES = ("openai-chat", "anthropic")
APIS = ("chat-completions", "messages")
CASES = [case for case in cases() if case.recording.api in APIS and isinstance(case.request.body, dict)]
SHARE = 541  # of 543 requests are the same

EXCEPTIONS: Mapping[str, str] = {
    "llamacpp/chat-a-tool-result-image-is-read-by-the-model-53c90d#0": "the picture in its result goes into the message behind it, as most hosts want it",
    "openai/chat-400-gpt-5-chat-latest-object-streaming-aca7e0#0": "names two limits, of which one can hold",
}


def objects(body: Body, *path: str) -> Iterator[Body]:
    """Yields the objects in lists at ``path``: ``objects(body, "messages", "content")``."""
    name, *rest = path
    inner = body.get(name)
    for each in inner if isinstance(inner, list) else [inner]:
        if isinstance(each, dict):
            yield from objects(each, *rest) if rest else (each,)


def null_is_nothing(body: Body) -> None:
    for each in (body, *objects(body, "messages")):
        for name in [name for name, value in each.items() if value is None]:
            del each[name]


def no_tools_are_nothing(body: Body) -> None:
    if body.get("tools") == []:
        del body["tools"]


def not_streamed_is_nothing(body: Body) -> None:
    if body.get("stream") is False:
        del body["stream"]


def one_text_is_a_string(body: Body) -> None:
    for each in (body, *objects(body, "messages"), *objects(body, "messages", "content")):
        for name in ("content", "system"):
            match each.get(name):
                case [{"type": "text", "text": text, **rest}] if not rest:
                    each[name] = text


def no_text_is_nothing(body: Body) -> None:
    for message in objects(body, "messages"):
        if message.get("content") in ("", []):
            del message["content"]


def blank_text_is_nothing(body: Body) -> None:
    """Anthropic answers blank text with status 400."""
    for message in objects(body, "messages"):
        if isinstance(message.get("content"), list):
            blank = [part for part in message["content"] if part.get("type") == "text" and not part["text"].strip()]
            message["content"] = [part for part in message["content"] if part not in blank]


def no_description_is_nothing(body: Body) -> None:
    for tool in (*objects(body, "tools"), *objects(body, "tools", "function")):
        if tool.get("description") == "":
            del tool["description"]


def no_arguments_are_empty_ones(body: Body) -> None:
    for call in objects(body, "messages", "tool_calls", "function"):
        call.setdefault("arguments", "{}")


def no_error_is_nothing(body: Body) -> None:
    for part in objects(body, "messages", "content"):
        if part.get("is_error") is False:
            del part["is_error"]


def usage_is_always_asked_for(body: Body) -> None:
    if body.get("stream"):
        body["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}


def a_limit_has_two_names(body: Body) -> None:
    if "max_completion_tokens" in body and "max_tokens" not in body:
        body["max_tokens"] = body.pop("max_completion_tokens")


def a_thought_has_two_names(body: Body) -> None:
    for message in objects(body, "messages"):
        if "reasoning" in message:
            message["reasoning_content"] = message.pop("reasoning")


def a_file_has_a_name(body: Body) -> None:
    for file in objects(body, "messages", "content", "file"):
        file.setdefault("filename", "document.pdf")


def functions_are_tools(body: Body) -> None:
    """The older form of tools."""
    if "functions" in body:
        body["tools"] = [{"type": "function", "function": function} for function in body.pop("functions")]
    if "function_call" in body:
        body["tool_choice"] = body.pop("function_call")


SPELLINGS: Mapping[str, tuple[Callable[[Body], None], ...]] = {
    "openai-chat": (
        null_is_nothing,
        no_tools_are_nothing,
        not_streamed_is_nothing,
        one_text_is_a_string,
        no_text_is_nothing,
        no_description_is_nothing,
        no_arguments_are_empty_ones,
        usage_is_always_asked_for,
        a_limit_has_two_names,
        a_thought_has_two_names,
        a_file_has_a_name,
        functions_are_tools,
    ),
    "anthropic": (
        no_tools_are_nothing,
        not_streamed_is_nothing,
        one_text_is_a_string,
        blank_text_is_nothing,
        no_description_is_nothing,
        no_error_is_nothing,
    ),
}


def read_body(case: Case) -> Body:
    """Returns the recorded body. Some hosts have the model only in the URL."""
    body = json.loads(json.dumps(case.request.body))
    body.setdefault("model", "model")
    return dict(body)


def write_body(body: Body, wire: str) -> Body:
    """Returns the body for an engine that accepts every field of the wire."""
    quirks = Quirks(echo_reasoning="always")
    engine = Engine(name="engine", label="Engine", dialect=wire, base_url="https://localhost", quirks=quirks)
    request = CLIENT_DIALECTS[wire].read_request(body)
    outgoing = ENGINE_DIALECTS[wire].write_request(request, engine)
    assert not outgoing.dropped
    assert outgoing.body is not None
    return dict(json.loads(json.dumps(outgoing.body)))


def normalise(body: Body, wire: str) -> str:
    """Returns the normalised body as JSON text, in which ``true`` and 1 differ."""
    body = json.loads(json.dumps(body))
    for spelling in SPELLINGS[wire]:
        spelling(body)
    return json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False)


@cache
def find_fault(number: int) -> str | None:
    case = CASES[number]
    wire, body = case.engine.dialect, read_body(case)
    try:
        ours = normalise(write_body(body, wire), wire)
    except LLMError as error:
        return repr(error)
    theirs = normalise(body, wire)
    if ours == theirs:
        return None
    lines = [f"{mine!r} is not {given!r}" for mine, given in zip(ours.split("\n"), theirs.split("\n"), strict=False)]
    return next((line for line in lines if line.split(" is not ")[0] != line.split(" is not ")[1]), "its end")


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_t12_a_recorded_request_is_forwarded_unchanged(number: int) -> None:
    found = find_fault(number)
    if CASES[number].name in EXCEPTIONS:
        assert found is not None, "no longer exceptional: take it off the list"
    else:
        assert found is None


def test_t12_the_share_of_recorded_requests_forwarded_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    same = sum(find_fault(number) is None for number in range(len(CASES)))
    with capsys.disabled():
        print(f"\nrecorded requests sent on as they came: {same} of {len(CASES)}")
    assert same == len(CASES) - len(EXCEPTIONS) >= SHARE
    assert {*EXCEPTIONS} <= {case.name for case in CASES}


def add_unknown_fields(body: Body) -> Body:
    """Adds an unknown field to every object that a dialect reads."""
    body = json.loads(json.dumps(body))
    places = [
        body,
        *objects(body, "messages"),
        *objects(body, "messages", "content"),
        *objects(body, "messages", "content", "content"),
        *objects(body, "messages", "tool_calls"),
        *objects(body, "system"),
        *objects(body, "tools"),
    ]
    for number, place in enumerate(places):
        place["x_unknown"] = {"number": number, "nothing": None, "list": [0, "", []]}
    return body


@pytest.mark.parametrize("wire", WIRES)
def test_t12_unknown_fields_are_forwarded_from_every_object(wire: str) -> None:
    faults = []
    for case in CASES:
        if case.engine.dialect == wire and case.name not in EXCEPTIONS:
            body = add_unknown_fields(read_body(case))
            if normalise(write_body(body, wire), wire) != normalise(body, wire):
                faults.append(case.name)
    assert not faults, f"{len(faults)}: {faults[:10]}"


@pytest.mark.parametrize("wire", WIRES)
def test_each_normalisation_is_needed(wire: str) -> None:
    """Without each function, some recorded request would differ."""
    needed: set[Callable[[Body], None]] = set()
    for case in CASES:
        if case.engine.dialect != wire or case.name in EXCEPTIONS:
            continue
        ours, theirs = write_body(read_body(case), wire), read_body(case)
        for left_out in set(SPELLINGS[wire]) - needed:
            forms = [json.loads(json.dumps(body)) for body in (ours, theirs)]
            for form in forms:
                for spelling in SPELLINGS[wire]:
                    if spelling is not left_out:
                        spelling(form)
            if json.dumps(forms[0], sort_keys=True) != json.dumps(forms[1], sort_keys=True):
                needed.add(left_out)
    assert {spelling.__name__ for spelling in set(SPELLINGS[wire]) - needed} == set()
