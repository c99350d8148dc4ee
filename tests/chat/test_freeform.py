"""Tools whose input is text."""

from __future__ import annotations

import json

import pytest

from llm.chat.freeform import Freeform, InputUnwrapper, escape_input, split_wrapping, unwrap_input, wrap_input

TEXTS = ["", "ls -l", 'a"b\\c\nd\té😀\u0001', "*** Begin Patch\n", "\\u0041 stays", "\ud800 alone"]


@pytest.mark.parametrize("text", TEXTS)
def test_an_input_becomes_json_arguments_and_text_again(text: str) -> None:
    arguments = wrap_input(text)
    assert unwrap_input(arguments) == text
    if text.isprintable():
        assert json.loads(arguments) == {"input": text}
    before, after = split_wrapping()
    assert before + "".join(map(escape_input, text)) + after == arguments or "\ud800" in text


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("spelling", ["ours", "ascii", "indented"])
def test_streamed_arguments_become_pieces_of_the_input(text: str, size: int, spelling: str) -> None:
    value = {"input": text}
    arguments = {"ours": wrap_input(text), "ascii": json.dumps(value), "indented": json.dumps(value, indent=2)}[
        spelling
    ]
    unwrapper = InputUnwrapper()
    pieces = [unwrapper.feed(arguments[at : at + size]) for at in range(0, len(arguments), size)]
    assert "".join(pieces) + unwrapper.close() == text


@pytest.mark.parametrize("arguments", ['{"patch": "x"}', "no JSON", '{"input": 3}', "", '{"input": "a'])
def test_arguments_of_another_form_are_the_input_as_they_are(arguments: str) -> None:
    unwrapper = InputUnwrapper()
    streamed = unwrapper.feed(arguments) + unwrapper.close()
    assert unwrap_input(arguments) == arguments
    assert streamed in (arguments, "a")  # of cut arguments, what has come of the text


def test_the_function_in_place_of_the_tool_has_one_text_field_and_tells_the_grammar() -> None:
    schema = Freeform("any", "lark", 'start: "a"').build_parameters()
    assert schema["required"] == ["input"] and 'start: "a"' in json.dumps(schema).replace("\\", "")
    assert "grammar" not in json.dumps(Freeform("any").build_parameters())
