"""``docs/fidelity.md`` is generated from the code, and every loss is reported."""

from __future__ import annotations

import os
import re

from tests.support.fidelity import ANSWERS, ENGINES_OF, FEATURES, evaluate, evaluate_answer, write_page
from tests.support.fidelity_clients import CLIENTS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "fidelity.md"


def test_the_page_is_up_to_date() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(write_page())
    assert PAGE.read_text() == write_page(), "UPDATE_DOCS=1 writes it anew"


def test_t8_every_loss_is_reported() -> None:
    lost = [
        (feature.name, client, towards.name)
        for feature in FEATURES
        for client in CLIENTS
        for towards in ENGINES_OF
        if evaluate(feature, client, towards).word == "LOST"
    ]
    assert not lost


def test_what_is_left_out_is_named_as_what_it_is() -> None:
    names = {
        name
        for feature in FEATURES
        for client in CLIENTS
        for towards in ENGINES_OF
        for name in evaluate(feature, client, towards).dropped
    }
    assert names  # some things are left out
    assert {name for name in names if not re.fullmatch(r"[a-zA-Z_]+(\.[a-zA-Z_]+)*", name) or "block" in name} == set()


def test_nothing_of_an_answer_is_lost_in_silence() -> None:
    lost = [
        (name, client)
        for name, events, marks in ANSWERS
        for client, spoken in CLIENTS.items()
        if evaluate_answer(name, events, marks, spoken.dialect) == "no"
    ]
    assert not lost


def test_every_request_of_the_page_is_a_feature() -> None:
    names = {feature.name for feature in FEATURES}
    for spoken in CLIENTS.values():
        assert set(spoken.bodies("", "")) <= names
