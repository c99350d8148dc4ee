"""Ids of tool calls in the forms that other APIs accept."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.provider_metadata import decode_id, encode_id, shorten_id


@given(st.text(min_size=1, max_size=80))
def test_an_id_is_encoded_once_and_comes_back(id: str) -> None:
    encoded = encode_id(id)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", encoded)
    assert decode_id(encoded) == id or encoded == id
    assert encode_id(encoded) == encoded == encode_id(id)


@pytest.mark.parametrize(
    "id", ["toolu_01A09q90", "call_1", "call_b64_", "call_b64_!!", "call_b64_YWJj", "call_b64_Zm9v"]
)
def test_an_id_that_was_never_encoded_stays(id: str) -> None:
    assert decode_id(id) == id


@given(st.text(min_size=1, max_size=80))
def test_a_short_id_is_stable_and_as_long_as_the_api_accepts(id: str) -> None:
    assert shorten_id(id, None) == id
    assert len(shorten_id(id, 40)) <= 40 and shorten_id(shorten_id(id, 40), 40) == shorten_id(id, 40)
    nine = shorten_id(id, 9)
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", nine) and shorten_id(nine, 9) == nine
