"""Provider metadata: an engine gets its own fields and the client's, a client gets all fields of its dialect."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.provider_metadata import (
    Metadata,
    ProviderMetadata,
    decode_metadata,
    encode_metadata,
    metadata_for_client,
    metadata_for_engine,
    unknown_fields,
    untranslated_fields,
)

OWN = ProviderMetadata("anthropic", "anthropic", {"signature": "own"})
OTHER = ProviderMetadata("anthropic", "bedrock", {"signature": "other", "more": 1})
CLIENTS = ProviderMetadata("anthropic", None, {"cache_control": {"type": "ephemeral"}})
OTHER_DIALECT = ProviderMetadata("openai-chat", "anthropic", {"signature": "of another wire"})
CLIENTS_OTHER_DIALECT = ProviderMetadata("openai-chat", None, {"user": "u", "seed": 0})
ALL: Metadata = (OWN, OTHER, CLIENTS, OTHER_DIALECT, CLIENTS_OTHER_DIALECT)

wires = st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers() | st.lists(st.text()))


@given(wires, st.sets(st.sampled_from("abcdef")))
def test_t12_unknown_fields_become_metadata(wire: dict[str, object], known: set[str]) -> None:
    metadata = unknown_fields(wire, known, "d", "i")
    fields = metadata_for_engine(metadata, "d", "i")
    assert fields == {name: value for name, value in wire.items() if name not in known}
    assert bool(metadata) == bool(fields)


def test_without_unknown_fields_the_metadata_is_empty() -> None:
    assert unknown_fields({"a": 1}, ("a",), "d", None) == ()
    assert metadata_for_engine((), "d", "i") == metadata_for_client((), "d") == {}
    assert untranslated_fields((), "d") == ()


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        ("anthropic", {**OWN.data, **CLIENTS.data}),
        ("bedrock", {**OTHER.data, **CLIENTS.data}),
        ("vertex", CLIENTS.data),
        (None, CLIENTS.data),
    ],
)
def test_t1_an_engine_gets_its_own_fields_and_the_clients(issuer: str | None, expected: dict[str, object]) -> None:
    assert metadata_for_engine(ALL, "anthropic", issuer) == expected


def test_a_client_gets_all_fields_of_its_dialect() -> None:
    assert metadata_for_client(ALL, "anthropic") == {**OWN.data, **OTHER.data, **CLIENTS.data}
    assert metadata_for_client(ALL, "gemini") == {}


def test_of_equal_names_the_last_field_counts() -> None:
    assert metadata_for_engine(
        (OWN, ProviderMetadata("anthropic", None, {"signature": "new"})), "anthropic", "anthropic"
    ) == {"signature": "new"}


def test_t8_client_fields_of_another_dialect_are_listed() -> None:
    assert untranslated_fields(ALL, "anthropic") == ("user", "seed")
    assert untranslated_fields(ALL, "openai-chat") == ("cache_control",)


def test_a_field_is_not_copied() -> None:
    deep = {"a": [1.0, {"b": "\ud83d"}]}
    fields = metadata_for_engine(unknown_fields({"x": deep}, (), "d", None), "d", "i")
    assert fields["x"] is deep


def test_t1_encoded_metadata_decodes_to_itself() -> None:
    assert decode_metadata(encode_metadata(ALL)) == ALL
    assert encode_metadata(()) == ""


@pytest.mark.parametrize(
    "text",
    ["", "EqQBCkYIARgCKkBx", "llm-server.1.", "llm-server.1.???", "llm-server.1.bm90IGpzb24=", "llm-server.1.W1tdXQ=="],
)
def test_other_texts_are_not_decoded(text: str) -> None:
    assert decode_metadata(text) is None


@given(st.text() | st.binary().map(lambda raw: "llm-server.1." + urlsafe_b64encode(raw).decode()))
def test_no_text_makes_decoding_raise(text: str) -> None:
    decode_metadata(text)
