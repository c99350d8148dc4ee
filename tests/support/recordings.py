"""Recorded provider traffic, read from the folder beside the checkout (its ``recordings/README.md`` describes the format).

Nothing of it is copied into the repository. Where the folder is absent the tests that need it are skipped, but in CI
(``CI=true``) its absence is a failure. ``LLM_SERVER_SHARED`` names another folder to look for it in.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest

from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from tests.support import oracle, oracle_responses
from tests.support.paths import ROOT

FOLDER = Path(os.environ.get("LLM_SERVER_SHARED") or ROOT.parent / "shared") / "recordings"

# API name in a recording → dialect.
DIALECTS: Mapping[str, str] = {
    "chat-completions": "openai-chat",
    "messages": "anthropic",
    "generate-content": "gemini",
    "ollama-chat": "ollama",
    "mistral-chat": "openai-chat",
    "responses": "openai-responses",
}
# Recordings of token counts, sent to the URL of chats.
NOT_ANSWERS = frozenset({"openai/responses-testthat-openai-count-tokens-e8e47a"})

EDGE = 300  # bytes at both ends of a body that are sent one by one
_TEAR = re.compile(
    rb"[\r\n]|[\xc2-\xf4](?=[\x80-\xbf])"
)  # a byte of a line end, the first byte of a multi-byte character


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)  # parsed JSON, else text; None if only the response was recorded


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    chunk_lengths: tuple[int, ...] = field(default=(), repr=False)  # bytes of each read, where recorded

    @property
    def is_stream(self) -> bool:
        """True if the body is a stream of frames, not one JSON document or text."""
        return _is_sse(self.body) or _is_json_lines(self.body)

    def with_crlf(self) -> Response:
        """Returns the response with CRLF line ends. JSON strings have no raw line end, so all belong to the framing."""
        if not self.is_stream:
            return self
        return Response(self.status, self.headers, self.body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    def pieces(self, size: int) -> Iterator[bytes]:
        """Returns the body in pieces of ``size`` bytes."""
        return (self.body[start : start + size] for start in range(0, len(self.body), size))

    def split_everywhere(self) -> Iterator[bytes]:
        """Returns the body split into pieces: byte by byte at both ends; in between around each byte of a line end, inside
        each multi-byte character, and at one random position between two such places.
        """
        size, chance = len(self.body), random.Random(self.body)  # reproducible
        places = {0, size, *range(min(EDGE, size)), *range(max(size - EDGE, 0), size)}
        before = 0
        for found in _TEAR.finditer(self.body):
            places |= {found.start(), found.end(), chance.randint(before, found.start())}
            before = found.end()
        cuts = sorted(places)
        return (self.body[start:end] for start, end in itertools.pairwise(cuts))

    def recorded_reads(self) -> Iterator[bytes]:
        """Returns the body in the recorded reads; in one piece if they were not recorded."""
        start = 0
        for length in self.chunk_lengths or (len(self.body),):
            yield self.body[start : start + length]
            start += length


@dataclass(frozen=True)
class Recording:
    name: str  # "<provider>/<file>"
    provider: str
    api: str
    features: frozenset[str] = field(repr=False)
    model: str
    fidelity: str
    synthetic: bool
    exchanges: tuple[tuple[Request, Response], ...]


@dataclass(frozen=True)
class Case:
    """One exchange of a recording with the engine record of its provider (or the one that configuration would create)."""

    recording: Recording
    engine: Engine
    index: int  # of the exchange
    request: Request
    response: Response

    @property
    def name(self) -> str:
        return f"{self.recording.name}#{self.index}"

    @property
    def streamed(self) -> bool:
        """True if the request asked for a stream; if it was not recorded, true if the response is one."""
        if isinstance(self.request.body, dict) and "stream" in self.request.body:
            return bool(self.request.body["stream"])
        return self.response.is_stream or "stream" in self.recording.features


@lru_cache(maxsize=1)
def recordings() -> tuple[Recording, ...]:
    """Returns all recordings. Skips the calling test or module if the folder is absent."""
    if not FOLDER.is_dir():
        reason = f"no recorded traffic at {FOLDER} (LLM_SERVER_SHARED names its parent folder)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)
    return tuple(_read(path) for path in sorted(FOLDER.glob("*/*.json")))


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """Returns every recorded chat exchange in a dialect that we have."""
    return tuple(
        Case(recording, find_engine(recording), index, request, response)
        for recording in recordings()
        if recording.api in DIALECTS and recording.name not in NOT_ANSWERS
        for index, (request, response) in enumerate(recording.exchanges)
    )


def read_expected(case: Case) -> oracle.Answer | oracle.Failure:
    """Returns the content of a recorded answer, read by an independent decoder."""
    return _expected(case.engine.dialect, case.engine.quirks.think_tags, case.response.status, case.response.body)


@cache  # shared by many tests, which do not change it
def _expected(dialect: str, think_tags: bool, status: int, body: bytes) -> oracle.Answer | oracle.Failure:
    if dialect == "openai-responses":
        return oracle_responses.read(status, body)
    said = oracle.read_answer(dialect, status, body)
    if think_tags and isinstance(said, oracle.Answer):
        return oracle.without_think_tags(said)
    return said


def find_engine(recording: Recording) -> Engine:
    """Returns the provider's engine record if it has that API, else the one that configuration alone would create."""
    dialect = DIALECTS[recording.api]
    engine = ENGINES.get(recording.provider)
    if engine is not None and engine.dialect == dialect:
        return engine
    if engine is not None and engine.responses is not None and dialect == "openai-responses":
        return replace(engine, dialect=dialect)
    return Engine(name=recording.provider, label=recording.provider, dialect=dialect, base_url="https://localhost")


def _read(path: Path) -> Recording:
    wire = json.loads(path.read_bytes())
    return Recording(
        name=f"{path.parent.name}/{path.stem}",
        provider=wire["provider"],
        api=wire["api"],
        features=frozenset(wire["features"]),
        model=wire.get("model") or "",
        fidelity=wire["fidelity"],
        synthetic=bool(wire.get("synthetic")),
        exchanges=tuple(_exchange(each) for each in wire.get("exchanges") or [wire]),
    )


def _exchange(wire: Mapping[str, Any]) -> tuple[Request, Response]:
    request, response = wire["request"], wire["response"]
    body = (
        base64.b64decode(response["body_base64"])
        if "body_base64" in response
        else (response.get("body") or "").encode()
    )
    return (
        Request(
            method=request["method"],
            path=request["path"],
            query=request.get("query") or "",
            headers=request.get("headers") or {},
            body=request.get("body"),
        ),
        Response(
            status=response["status"],
            headers=response.get("headers") or {},
            body=body,
            chunk_lengths=tuple(response.get("chunk_lengths") or ()),
        ),
    )


def _is_sse(body: bytes) -> bool:
    return body.lstrip().startswith((b"data:", b"event:", b"id:", b":"))


def _is_json_lines(body: bytes) -> bool:
    first, _, rest = body.strip().partition(b"\n")
    return first.startswith(b"{") and first.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{")
