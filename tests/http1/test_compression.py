"""The decompressor of bodies, with valid and broken data in pieces of any size."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import Malformed
from llm.http1.compression import MAX_STEP, Decompressor, create_inflater, load_zstd
from tests.support.http_answers import BODY


def decompress(decoder: Decompressor, packed: bytes, size: int) -> bytes:
    """Decompresses ``packed`` in pieces of ``size`` bytes."""
    output = []
    for at in range(0, len(packed), size):
        output.append(decoder.feed(packed[at : at + size]))
        while decoder.pending:
            output.append(decoder.feed(b""))
    decoder.close()
    return b"".join(output)


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
def test_a_body_is_decompressed_from_pieces_of_any_size(
    encoding: str, pack: Callable[[bytes], bytes], size: int
) -> None:
    decoder = create_inflater(encoding)
    assert decoder is not None
    assert decompress(decoder, pack(BODY * 20), size) == BODY * 20


@pytest.mark.parametrize("size", [*range(MAX_STEP - 3, MAX_STEP + 4), 3 * MAX_STEP])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_body_that_ends_at_the_limit_of_a_step_is_complete(pack: Callable[[bytes], bytes], size: int) -> None:
    decoder = create_inflater("gzip" if pack is gzip.compress else "deflate")
    assert decoder is not None
    assert decompress(decoder, pack(b"a" * size), 1 << 20) == b"a" * size


def test_a_small_body_is_not_decompressed_to_a_large_one_at_once() -> None:
    decoder = create_inflater("gzip")
    assert decoder is not None
    packed = gzip.compress(b"\0" * 50_000_000)
    assert len(packed) < 60_000
    assert len(decoder.feed(packed)) == MAX_STEP
    assert decoder.pending


def test_feed_returns_nothing_only_if_it_needs_more_input() -> None:
    decoder = create_inflater("gzip")
    assert decoder is not None
    assert decoder.feed(gzip.compress(b"") * 3 + gzip.compress(b"one")) == b"one"
    assert not decoder.pending


def test_many_empty_members_are_refused() -> None:
    decoder = create_inflater("gzip")
    assert decoder is not None
    with pytest.raises(Malformed):
        decompress(decoder, gzip.compress(b"") * 1001, 1 << 20)


@pytest.mark.skipif(load_zstd() is None, reason="needs Python 3.14 or backports.zstd")
class TestZstd:
    """The same of zstd."""

    @pytest.mark.parametrize("size", [1, 7, 1 << 20])
    def test_frames_are_decompressed_from_pieces_of_any_size(self, size: int) -> None:
        zstd, decoder = load_zstd(), create_inflater("zstd")
        assert decoder is not None
        packed = zstd.compress(BODY * 20) + zstd.compress(b"") + zstd.compress(b"a" * (3 * MAX_STEP))
        assert decompress(decoder, packed, size) == BODY * 20 + b"a" * (3 * MAX_STEP)

    def test_a_step_is_bounded(self) -> None:
        decoder = create_inflater("zstd")
        assert decoder is not None
        assert len(decoder.feed(load_zstd().compress(b"\0" * 50_000_000))) == MAX_STEP
        assert decoder.pending

    @pytest.mark.parametrize("fault", ["cut", "garbage", "trailing", "wide window", "many frames"])
    def test_broken_data_is_malformed(self, fault: str) -> None:
        zstd, decoder = load_zstd(), create_inflater("zstd")
        assert decoder is not None
        packed = zstd.compress(BODY)
        wide = {zstd.CompressionParameter.window_log: 27}
        data = {
            "cut": packed[:-4],
            "garbage": b"\x1f\x8b" + packed,
            "trailing": packed + b"\x28",
            "wide window": zstd.compress(bytes(1 << 25), options=wide),
            "many frames": zstd.compress(b"") * 1001,
        }[fault]
        with pytest.raises(Malformed):
            decompress(decoder, data, 1 << 20)


def test_uncompressed_bodies_need_no_decompressor() -> None:
    assert create_inflater("") is create_inflater("identity") is None
    with pytest.raises(Malformed):
        create_inflater("br")


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(1, 50), st.sampled_from(["gzip", "deflate"]))
def test_broken_data_is_decompressed_or_malformed(garbage: bytes, at: int, size: int, encoding: str) -> None:
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)
    decoder = create_inflater(encoding)
    assert decoder is not None
    with suppress(Malformed):
        decompress(decoder, packed[:at] + garbage + packed[at + len(garbage) :], size)


def test_an_incomplete_body_is_malformed() -> None:
    decoder = create_inflater("gzip")
    assert decoder is not None
    with pytest.raises(Malformed):
        decompress(decoder, gzip.compress(BODY)[:-4], 1 << 20)
