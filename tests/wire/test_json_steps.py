"""JSON in small steps is the same JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.wire.json_codec import MAX_DEPTH, dump_bytes, loads
from llm.wire.json_steps import dump_in_steps, loads_in_steps

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_decoded_and_encoded_is_the_same(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert loads_in_steps(text) == value
    assert dump_in_steps(value) == dump_bytes(value)


@given(VALUES, st.integers(0, 200), st.text(max_size=2))
def test_what_is_broken_is_refused_as_loads_refuses_it(value: Any, at: int, put: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    broken = text[:at] + put + text[at + 1 :]
    try:
        expected = loads(broken)
    except ValueError:
        with pytest.raises(ValueError):
            loads_in_steps(broken)
    else:
        assert loads_in_steps(broken) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "[", "{}x", "[1,]", '{"a":1,}', '{"a" 1}', "{1:2}", "[1 2]", '{"a":[1}', "NaN", "[1e999]", '["\\ud800"',
        '{"a":{"b":[}}', b"\xff", b'{"a":"\xff"}', "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "[" * MAX_DEPTH + "{}" + "]" * MAX_DEPTH, "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    for decode in (loads, loads_in_steps):
        with pytest.raises(ValueError):
            decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_DEPTH + "]" * MAX_DEPTH, "[" * (MAX_DEPTH - 1) + "{}" + "]" * (MAX_DEPTH - 1), b"\xef\xbb\xbf{}",
        ' { "a" : [ ] , "a" : { } } ', '{"a":"' + "x" * 100_000 + '"}', json.dumps({str(n): n for n in range(20_000)}),
        '["\\ud800", "\\"}{][", 18446744073709551616]',
    ],
)  # fmt: skip
def test_large_and_odd_json_is_decoded(text: str | bytes) -> None:
    value = loads(text)
    assert loads_in_steps(text) == value
    assert dump_in_steps(value) == dump_bytes(value)
