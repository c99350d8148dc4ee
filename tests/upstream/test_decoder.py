"""Errors inside a stream that are no JSON."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from llm.errors import EngineFailed, Malformed
from llm.upstream.decoder import Decoder
from llm.wire.sse import SseDecoder


@pytest.mark.parametrize("dialect", ENGINE_DIALECTS)
def test_s2_an_error_event_that_is_plain_text_keeps_its_words(dialect: str) -> None:
    engine = replace(ENGINES["openai"], dialect=dialect)
    decoder = Decoder(ENGINE_DIALECTS[dialect], engine, 1 << 20)
    if not isinstance(ENGINE_DIALECTS[dialect].create_framing(), SseDecoder):
        return  # lines have no names
    decoder.feed(b"event: error\ndata: Internal Server Error\n\n")
    assert isinstance(decoder.failure, EngineFailed) and str(decoder.failure) == "Internal Server Error"
    other = Decoder(ENGINE_DIALECTS[dialect], engine, 1 << 20)
    other.feed(b"data: Internal Server Error\n\n")
    assert isinstance(other.failure, Malformed)


@pytest.mark.parametrize("name", ["google", "ollama", "openai", "anthropic"])
def test_e2_a_plain_text_in_place_of_an_error_object_is_its_message(name: str) -> None:
    engine = ENGINES[name]
    read_error = ENGINE_DIALECTS[engine.dialect].read_error
    assert str(read_error(503, b"upstream connect error\n", engine)) == "upstream connect error"
    assert "<html>" not in str(read_error(503, b"<html><title>503</title></html>", engine))
