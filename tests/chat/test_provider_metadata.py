"""Whose data goes where: an engine gets its own and its client's, a client gets all that it can read."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.provider_metadata import Keep, Opaque, fields_lost, opaque_for, opaque_to_client, rest_of, seal, unseal

OWN = Opaque("anthropic", "anthropic", {"signature": "own"})
OTHER = Opaque("anthropic", "bedrock", {"signature": "other", "more": 1})
CLIENTS = Opaque("anthropic", None, {"cache_control": {"type": "ephemeral"}})
ELSEWHERE = Opaque("openai-chat", "anthropic", {"signature": "of another wire"})
ASKED_ELSEWHERE = Opaque("openai-chat", None, {"user": "u", "seed": 0})
ALL: Keep = (OWN, OTHER, CLIENTS, ELSEWHERE, ASKED_ELSEWHERE)

fields = st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers() | st.lists(st.text()))


@given(fields, st.sets(st.sampled_from("abcdef")))
def test_t12_what_is_not_known_is_kept(wire: dict[str, object], known: set[str]) -> None:
    keep = rest_of(wire, known, "d", "i")
    kept = opaque_for(keep, "d", "i")
    assert kept == {name: value for name, value in wire.items() if name not in known}
    assert bool(keep) == bool(kept)


def test_nothing_is_kept_of_nothing() -> None:
    assert rest_of({"a": 1}, ("a",), "d", None) == ()
    assert opaque_for((), "d", "i") == opaque_to_client((), "d") == {}
    assert fields_lost((), "d") == ()


@pytest.mark.parametrize(
    ("issuer", "gets"),
    [
        ("anthropic", {**OWN.data, **CLIENTS.data}),
        ("bedrock", {**OTHER.data, **CLIENTS.data}),
        ("vertex", CLIENTS.data),
        (None, CLIENTS.data),
    ],
)
def test_t1_an_engine_gets_what_it_issued_and_what_its_client_said(issuer: str | None, gets: dict[str, object]) -> None:
    assert opaque_for(ALL, "anthropic", issuer) == gets


def test_a_client_gets_all_of_its_dialect() -> None:
    assert opaque_to_client(ALL, "anthropic") == {**OWN.data, **OTHER.data, **CLIENTS.data}
    assert opaque_to_client(ALL, "gemini") == {}


def test_the_last_one_counts() -> None:
    assert opaque_for((OWN, Opaque("anthropic", None, {"signature": "new"})), "anthropic", "anthropic") == {
        "signature": "new"
    }


def test_t8_what_a_client_said_in_another_dialect_is_told_by_name() -> None:
    assert fields_lost(ALL, "anthropic") == ("user", "seed")
    assert fields_lost(ALL, "openai-chat") == ("cache_control",)


def test_what_is_kept_is_the_very_value() -> None:
    deep = {"a": [1.0, {"b": "\ud83d"}]}
    kept = opaque_for(rest_of({"x": deep}, (), "d", None), "d", "i")
    assert kept["x"] is deep


def test_t1_what_is_sealed_is_opened_again() -> None:
    assert unseal(seal(ALL)) == ALL
    assert seal(()) == ""


@pytest.mark.parametrize(
    "text",
    ["", "EqQBCkYIARgCKkBx", "llm-server.1.", "llm-server.1.???", "llm-server.1.bm90IGpzb24=", "llm-server.1.W1tdXQ=="],
)
def test_what_we_did_not_seal_is_not_opened(text: str) -> None:
    assert unseal(text) is None


@given(st.text() | st.binary().map(lambda raw: "llm-server.1." + urlsafe_b64encode(raw).decode()))
def test_no_string_breaks_the_seal(text: str) -> None:
    unseal(text)
