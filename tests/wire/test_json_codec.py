"""JSON encoding and decoding: invalid JSON is rejected, and all output can be decoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.wire.json_codec import (
    _decode_fast,
    _decode_std,
    _parse_finite,
    _reject_constant,
    dump_bytes,
    dumps,
    loads,
    orjson,
    quote_url_part,
)

# With lone surrogates, which ``st.text()`` leaves out.
texts = st.text(st.characters(exclude_categories=[]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@pytest.mark.parametrize("text", ["a/b c", "\ud83d", "é\udc00?"])
def test_s8_any_text_can_be_quoted_in_a_url(text: str) -> None:
    assert quote_url_part(text) == {"a/b c": "a%2Fb%20c", "\ud83d": "%3F", "é\udc00?": "%C3%A9%3F%3F"}[text]
    assert quote_url_part("a/b", "/") == "a/b"


@given(values)
def test_an_encoded_value_decodes_to_itself(value: Any) -> None:
    text = dumps(value)
    assert text.encode() == dump_bytes(value)
    assert loads(text) == loads(dump_bytes(value)) == json.loads(text) == value
    assert "\n" not in text and "\r" not in text


@given(values)
def test_output_of_the_standard_library_is_decoded(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2)):
        assert loads(text) == loads(text.encode()) == value


def test_text_is_compact_and_not_escaped() -> None:
    assert dumps({"a": [1, "ä 漢 🎈"], "b": None}) == '{"a":[1,"ä 漢 🎈"],"b":null}'


def test_a_lone_surrogate_is_escaped_so_that_a_client_can_join_the_pair() -> None:
    halves = "🎈".encode("utf-16-be", "surrogatepass")
    first, second = (halves[n : n + 2].decode("utf-16-be", "surrogatepass") for n in (0, 2))
    assert dump_bytes(first) == b'"\\ud83c"' and dump_bytes(second) == b'"\\udf88"'
    joined = dumps(first)[:-1] + dumps(second)[1:]
    assert json.loads(joined) == "🎈"
    assert loads('"\\ud83c"') == first


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400 + ".0"])
def test_nan_and_infinity_are_not_decoded(number: str) -> None:
    """``1e999`` would become infinity, which cannot be encoded again."""
    for text in (number, f'{{"a": [{number}]}}', number.encode()):
        with pytest.raises(ValueError, match=r"is not JSON|too large"):
            loads(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_not_encoded(value: float) -> None:
    for write in (dumps, dump_bytes):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write({"a": [value]})


@pytest.mark.parametrize(
    "deep", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000]
)
def test_too_deep_nesting_is_a_value_error(deep: str) -> None:
    for text in (deep, deep.encode()):
        with pytest.raises(ValueError, match="nested too deeply"):
            loads(text)


@pytest.mark.parametrize(
    "text", ["", " ", "{", '{"a"}', "{'a': 1}", '"a', "a", "1 2", '{"a":1}{"a":1}', "\ufeff{}x", "[1,]"]
)
def test_invalid_json_is_a_value_error(text: str) -> None:
    for raw in (text, text.encode()):
        with pytest.raises(ValueError):
            loads(raw)


@pytest.mark.parametrize("raw", [b'"\xff"', b'"\xe6\xbc"', '{"a":1}'.encode("utf-16")])
def test_bytes_that_are_not_utf_8_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        loads(raw)


def test_a_byte_order_mark_and_blank_space_are_accepted() -> None:
    assert loads(b'\xef\xbb\xbf {"a": 1}\r\n') == {"a": 1}
    assert loads(' \n{"a": 1}\n') == {"a": 1}


def test_integers_and_floats_keep_their_type() -> None:
    assert dumps(loads("[1, 1.0, 0, -0.0, 12345678901234567890]")) == "[1,1.0,0,-0.0,12345678901234567890]"


# --- compared with the standard library ---

FAST = pytest.mark.skipif(orjson is None, reason="orjson is not installed")

SCRAPS = st.sampled_from(
    [*'{}[]",:.-+eE01289 \t\n\\/', "null", "true", "false", "NaN", "Infinity", '"a":', "\\u", "\\ud83c", "\\udf88", "\ud83c", "é", "\ufeff", "\x00", "\x7f", "\u2028", "18446744073709551616", "-9223372036854775809", "999999999999999999", "1e999", "0.1"]
)  # fmt: skip


def outcome(decode: Callable[[str | bytes], Any], text: str | bytes) -> str:
    """Returns the ``repr`` of the value, which shows all types in it, or the error's type and message."""
    try:
        return repr(decode(text))
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


@settings(max_examples=500)
@given(st.lists(SCRAPS, max_size=12).map("".join))
def test_errors_are_those_of_the_standard_library(text: str) -> None:
    expected = json.JSONDecoder(parse_float=_parse_finite, parse_constant=_reject_constant).decode
    assert outcome(_decode_std, text) == outcome(lambda text: expected(str(text)), text)
    if text.isascii():
        assert outcome(_decode_std, text.encode()) == outcome(_decode_std, text)


@given(values)
def test_output_is_that_of_the_standard_library(value: Any) -> None:
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert dumps(value) in (expected, json.dumps(value, separators=(",", ":")))


@FAST
@given(values)
def test_orjson_decodes_as_the_standard_library_does(value: Any) -> None:
    for text in (dumps(value), json.dumps(value), json.dumps(value, indent=2)):
        assert outcome(_decode_fast, text) == outcome(_decode_fast, text.encode()) == repr(value)


@FAST
@settings(max_examples=500)
@given(st.lists(SCRAPS, max_size=12).map("".join))
def test_errors_with_orjson_are_those_of_the_standard_library(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    assert outcome(_decode_fast, text) == outcome(_decode_std, text)
    assert outcome(_decode_fast, raw) == outcome(_decode_std, raw)


@FAST
@settings(max_examples=500)
@given(st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_orjson_decodes_numbers_as_the_standard_library_does(number: str) -> None:
    assert outcome(_decode_fast, number) == outcome(_decode_std, number)
    assert outcome(_decode_fast, f"[{number}]".encode()) == outcome(_decode_std, f"[{number}]")


@FAST
@pytest.mark.parametrize("depth", [256, 257, 1000, 1025, 100_000])
def test_orjson_has_the_same_depth_limit(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[" * depth + "]" * depth
    outcomes = set()
    for decode in (_decode_std, _decode_fast):
        monkeypatch.setattr("llm.wire.json_codec._decode", decode)
        outcomes |= {outcome(loads, text)[:30], outcome(loads, text.encode())[:30]}
    assert len(outcomes) == 1 and (depth > 256) == outcomes.pop().startswith("ValueError")
