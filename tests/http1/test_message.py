"""Request headers are parsed and refused as by Tornado."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPInputError

from llm.errors import InvalidRequest
from llm.http1.message import Headers
from llm.http1.request_parser import RequestParser


def parse_request_headers(text: str) -> dict[str, str]:
    parser, lines = RequestParser(10_000), f"\r\n{text}" if text else ""
    parser.feed(f"GET / HTTP/1.1\r\nHost: x{lines}\r\n\r\n".encode("latin-1"), [])
    return dict(parser.headers)


@given(
    st.lists(
        st.lists(st.sampled_from(("X-a", "x-A", "b", ":", " ", "\t", "\n", "\x00", "é", "ü ", "1,2")), max_size=6).map(
            "".join
        )
    )
)
def test_headers_are_parsed_and_refused_as_by_tornado(lines: list[str]) -> None:
    text = "\r\n".join(filter(None, lines))
    expected = HTTPHeaders()
    try:
        for line in filter(None, lines):
            name, colon, value = line.partition(":")
            expected.add(name if colon else "", value.strip(" \t"))
    except HTTPInputError:
        with pytest.raises(ValueError, match="invalid headers"):
            Headers(text)
        with pytest.raises(InvalidRequest):
            parse_request_headers(text)
        return
    headers = Headers(text)
    assert {**headers, "host": "x"} == parse_request_headers(text)
    assert dict(headers.items()) == {name.lower(): value for name, value in expected.items()}
    assert all(headers[name.upper()] == headers.get(name) == value for name, value in expected.items())
    assert headers.get("x-none") is None and headers.get("x-none", "") == ""
