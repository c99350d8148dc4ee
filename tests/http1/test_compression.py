"""The decoder of compressed bodies, fed in every way."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import Malformed
from llm.http1.compression import STEP, Inflater, inflater
from tests.support.http_answers import BODY

# Compressed bodies.


def unpacked(decoder: Inflater, packed: bytes, size: int) -> bytes:
    made = []
    for at in range(0, len(packed), size):
        made.append(decoder.feed(packed[at : at + size]))
        while decoder.pending:
            made.append(decoder.feed(b""))
    decoder.close()
    return b"".join(made)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZip ", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),  # two members
        ("gzip", lambda data: gzip.compress(b"") * 2 + gzip.compress(data) + gzip.compress(b"")),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),  # wrong, and common
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_compressed_bodies_in_any_pieces(encoding: str, pack: Callable[[bytes], bytes], size: int) -> None:
    decoder = inflater(encoding)
    assert decoder is not None
    assert unpacked(decoder, pack(BODY * 20), size) == BODY * 20


@pytest.mark.parametrize("size", [*range(STEP - 3, STEP + 4), 3 * STEP])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_body_that_ends_at_the_bound_of_a_step_is_whole(pack: Callable[[bytes], bytes], size: int) -> None:
    decoder = inflater("gzip" if pack is gzip.compress else "deflate")
    assert decoder is not None
    assert unpacked(decoder, pack(b"a" * size), 1 << 20) == b"a" * size


def test_a_small_body_cannot_become_a_large_one_at_once() -> None:
    decoder = inflater("gzip")
    assert decoder is not None
    packed = gzip.compress(b"\0" * 50_000_000)
    assert len(packed) < 60_000
    assert len(decoder.feed(packed)) == STEP
    assert decoder.pending


def test_a_step_gives_nothing_only_if_it_needs_more() -> None:
    decoder = inflater("gzip")
    assert decoder is not None
    assert decoder.feed(gzip.compress(b"") * 3 + gzip.compress(b"one")) == b"one"
    assert not decoder.pending


def test_bodies_that_are_not_compressed_are_left_alone() -> None:
    assert inflater("") is inflater("identity") is None
    with pytest.raises(Malformed):
        inflater("br")


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(1, 50), st.sampled_from(["gzip", "deflate"]))
def test_broken_compression_is_malformed_and_nothing_else(garbage: bytes, at: int, size: int, encoding: str) -> None:
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)
    decoder = inflater(encoding)
    assert decoder is not None
    with suppress(Malformed):
        unpacked(decoder, packed[:at] + garbage + packed[at + len(garbage) :], size)


def test_a_compressed_body_without_its_end_is_malformed() -> None:
    decoder = inflater("gzip")
    assert decoder is not None
    with pytest.raises(Malformed):
        unpacked(decoder, gzip.compress(BODY)[:-4], 1 << 20)
