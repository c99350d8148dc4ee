"""Function calls of Gemini whose arguments are streamed as values of JSON paths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from llm.chat.grammar import ArgumentsCheck
from llm.chat.reply import Reply, collect
from llm.dialects import gemini
from llm.engines.records import ENGINES
from llm.errors import Malformed
from llm.upstream.decoder import Decoder


def stream(calls: Sequence[dict[str, Any]], finish: str = "STOP") -> bytes:
    parts = [[{"functionCall": call}] for call in calls]
    chunks: list[dict[str, Any]] = [{"candidates": [{"content": {"role": "model", "parts": one}}]} for one in parts]
    chunks.append({"candidates": [{"content": {"parts": []}, "finishReason": finish}]})
    return b"".join(f"data: {json.dumps({'responseId': 'r', **chunk})}\r\n\r\n".encode() for chunk in chunks)


def read(calls: Sequence[dict[str, Any]], finish: str = "STOP") -> Reply:
    decoder = Decoder(gemini, ENGINES["google"], 1 << 20)
    events = [*decoder.feed(stream(calls, finish)), *decoder.close()]
    assert decoder.failure is None
    return collect(events)


def piece(path: str, more: bool = True, **value: Any) -> dict[str, Any]:
    return {"partialArgs": [{"jsonPath": path, **value}], "willContinue": more}


START: dict[str, Any] = {"id": "c1", "name": "f", "willContinue": True}


def test_pieces_become_one_call() -> None:
    calls = [
        START,
        piece("$.place", stringValue="New ", willContinue=True),
        piece("$.place", stringValue="Delhi"),
        piece("$.n", numberValue=1.5),
        piece("$.list[0].ok", boolValue=False),
        piece("$.list[1]", nullValue="NULL_VALUE"),
        piece("$['a b'][\"c\"]", stringValue="\N{FOX FACE}"),
        {},
    ]
    [call] = read(calls).calls
    assert (call.id, call.name) == ("c1", "f")
    assert json.loads(call.arguments) == {
        "place": "New Delhi", "n": 1.5, "list": [{"ok": False}, None], "a b": {"c": "\N{FOX FACE}"},
    }  # fmt: skip


def test_calls_follow_one_another() -> None:
    reply = read(
        [START, piece("$.a", more=False, numberValue=1), {"name": "g", "args": {"b": 2}}, {"id": "c3", "name": "h"}]
    )
    assert [(call.name, json.loads(call.arguments)) for call in reply.calls] == [
        ("f", {"a": 1}), ("g", {"b": 2}), ("h", {}),
    ]  # fmt: skip


BROKEN: list[list[dict[str, Any]]] = [
    [START],
    [START, piece("$.a", numberValue=1)],
    [START, piece("$.a", numberValue=1), {"name": "g", "args": {}}],
    [START, piece("a", more=False, numberValue=1)],
    [START, piece("$", more=False, numberValue=1)],
    [START, piece("$.a[5]", more=False, numberValue=1)],
    [START, piece("$.a", numberValue=1), piece("$.a.b", more=False, numberValue=1)],
    [START, piece("$.a", more=False)],
]


@pytest.mark.parametrize("calls", BROKEN)
def test_pieces_that_do_not_add_up_are_never_an_empty_object(calls: list[dict[str, Any]]) -> None:
    reply = read(calls)
    with pytest.raises(ValueError):
        json.loads(reply.calls[0].arguments)
    with pytest.raises(Malformed):
        decoder = Decoder(gemini, ENGINES["google"], 1 << 20)
        check = ArgumentsCheck()
        check.feed(decoder.feed(stream(calls)))
        check.feed(decoder.close())


def test_a_call_that_the_limit_cut_ends_as_cut() -> None:
    reply = read([START, piece("$.a", stringValue="x", willContinue=True)], "MAX_TOKENS")
    assert reply.finish.reason == "length"
    assert reply.calls[0].arguments == '{"a":"x"'
