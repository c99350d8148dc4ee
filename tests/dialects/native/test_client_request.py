"""Requests to the native API, with bodies that clients of the older server send."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.request.schema import Schemas
from llm import errors
from llm.chat.messages import Media, Message, Text
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import Options
from llm.dialects import native
from llm.storage.legacy_threads import read_legacy_thread

BODY: dict[str, Any] = {"engine": "e", "model": "m", "prompt": "Hi"}
SCHEMA = Schemas()


def attached(text: str, **about: str) -> Text:
    """A text attachment: text for a model, but an attachment in a thread."""
    return Text(f"\n\n{text}", metadata=(ProviderMetadata("native", "native", dict(about)),))


def test_a_body_of_the_older_server_is_read() -> None:
    request = native.read_request(
        {
            **BODY,
            "messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}],
            "attachment": {"mimeType": "text/markdown", "content": "# Notes"},
        }
    )
    assert request.stream
    assert request.messages == (
        Message("user", (Text("A"),)),
        Message("assistant", (Text("B"),)),
        Message("user", (Text("Hi"), attached("# Notes", mimeType="text/markdown"))),
    )


@pytest.mark.parametrize(
    "odd", [{"attachment": "Hi"}, {"attachments": {"a": 1}}, {"attachments": [5]}, {"attachments": 5}]
)
def test_s8_an_older_message_keeps_its_text_with_any_attachment(odd: dict[str, Any]) -> None:
    assert read_legacy_thread(json.dumps([{"role": "user", "content": "Hi", **odd}])) == [
        Message("user", (Text("Hi"),))
    ]


@pytest.mark.parametrize(
    ("attachment", "part"),
    [
        ({"mimeType": "image/png", "contents": "AAAA"}, Media(mime="image/png", base64="AAAA")),
        ({"mimeType": "image/jpg", "contents": "AA\nAA"}, Media(mime="image/jpeg", base64="AAAA")),
        ({"mimeType": "", "contents": "data:image/gif;base64,AAAA"}, Media(mime="image/gif", base64="AAAA")),
        (
            {"mimeType": "application/pdf", "contents": "AAAA", "title": "t.pdf"},
            Media(mime="application/pdf", base64="AAAA", name="t.pdf"),
        ),
        (
            {"mimeType": "application/json; charset=utf-8", "contents": "{}"},
            attached("{}", mimeType="application/json"),
        ),
        (
            {"mimeType": "text/plain", "contents": "data:text/plain;base64,SGk=", "title": "hi.txt"},
            attached("Hi", mimeType="text/plain", title="hi.txt"),
        ),
        (
            {"mimeType": "text/plain", "contents": "QUJD"},
            attached("QUJD", mimeType="text/plain"),
        ),  # text is used unchanged
    ],
)
def test_attachments_are_read_in_all_forms(attachment: dict[str, str], part: Any) -> None:
    for body in ({**BODY, "attachment": attachment}, {**BODY, "attachments": [attachment]}):
        assert native.read_request(body).messages[-1].parts[1] == part


@pytest.mark.parametrize("mime", ["application/zip", "font/woff", "x/y", "image/", ""])
def test_an_unsupported_attachment_is_refused(mime: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"attachment\.mimeType"):
        native.read_request({**BODY, "attachment": {"mimeType": mime, "contents": "AAAA"}})


def test_null_is_no_attachment() -> None:
    body = {**BODY, "attachment": None, "attachments": [None], "messages": [{"role": "user", "attachments": None}]}
    SCHEMA.check("llm.chat", body)
    assert native.read_request(body).messages[-1].parts == (Text("Hi"),)


def test_options_are_read_with_their_zeros() -> None:
    wire = {
        "maxTokens": 1, "temperature": 0, "top_p": 0, "top_k": 0, "stop": "x", "seed": 0, "reasoning": False,
        "reasoningBudget": 0, "verbosity": "low", "serviceTier": "flex", "logprobs": False, "top_logprobs": 0,
        "caching": False, "citations": False, "contextWindowSize": 5, "toolChoice": {"type": "tool", "name": "f"},
        "customOpts": {"a": 1},
    }  # fmt: skip
    SCHEMA.check("llm.chat", {**BODY, "options": wire})
    assert native.read_options(wire) == Options(
        max_tokens=1, temperature=0, top_p=0, top_k=0, stop=("x",), seed=0, reasoning=False, reasoning_tokens=0,
        verbosity="low", service_tier="flex", logprobs=False, top_logprobs=0, caching=False, citations=False,
        context_tokens=5, tool_choice="tool:f", extra={"a": 1},
    )  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["role", "content", "contents", "mimeType", "attachment", "attachments", "type", "name", "schema"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
NAMES = ["messages", "attachment", "attachments", "options", "instructions", "stream", "thread", "tools"]


@given(fields=st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_body_valid_by_the_schema_is_read_or_refused(fields: dict[str, Any]) -> None:
    body = {**BODY, **fields}
    with suppress(errors.LLMError):
        SCHEMA.check("llm.chat", body)
        native.read_request(body)


@given(
    options=st.dictionaries(
        st.sampled_from(
            [
                "maxTokens",
                "stop",
                "toolChoice",
                "think",
                "structuredOutput",
                "reasoningEffort",
                "customOpts",
                "thinkingBudget",
            ]
        ),
        JSON,
    )
)
def test_any_options_valid_by_the_schema_are_read_or_refused(options: dict[str, Any]) -> None:
    body = {**BODY, "options": options}
    with suppress(errors.LLMError):
        SCHEMA.check("llm.chat", body)
        native.read_request(body)
