"""Recorded provider traffic, read from the folder beside the checkout (``recordings/README.md`` there tells its form).

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

# A recording's word for the API, and the dialect that speaks it.
DIALECTS: Mapping[str, str] = {
    "chat-completions": "openai-chat",
    "messages": "anthropic",
    "generate-content": "gemini",
    "ollama-chat": "ollama",
    "mistral-chat": "openai-chat",
    "responses": "openai-responses",
}
# A count of tokens, which came of the address of answers.
NOT_ANSWERS = frozenset({"openai/responses-testthat-openai-count-tokens-e8e47a"})

EDGE = 300  # bytes at either end of a body that are torn one from another
_TEAR = re.compile(rb"[\r\n]|[\xc2-\xf4](?=[\x80-\xbf])")  # a letter of a line end, the first byte of several


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)  # JSON where it was JSON, else text; None where only the answer was kept


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    chunk_lengths: tuple[int, ...] = field(default=(), repr=False)  # of the reads in which it came, where known

    @property
    def is_stream(self) -> bool:
        """More than one value, framed: not one JSON document, nor a page of text."""
        return _is_sse(self.body) or _is_json_lines(self.body)

    def crlf(self) -> Response:
        """The same with CRLF at the line ends. JSON has no raw line end inside a text, so all of them are framing."""
        if not self.is_stream:
            return self
        return Response(self.status, self.headers, self.body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    def pieces(self, size: int) -> Iterator[bytes]:
        """The body in pieces of ``size`` bytes."""
        return (self.body[start : start + size] for start in range(0, len(self.body), size))

    def torn(self) -> Iterator[bytes]:
        """The body byte by byte at both ends. In between it is cut where it hurts, which is around each letter of a line
        end and inside each character of several bytes, and by chance once between two such places.
        """
        size, chance = len(self.body), random.Random(self.body)  # the same each time
        places = {0, size, *range(min(EDGE, size)), *range(max(size - EDGE, 0), size)}
        before = 0
        for found in _TEAR.finditer(self.body):
            places |= {found.start(), found.end(), chance.randint(before, found.start())}
            before = found.end()
        cuts = sorted(places)
        return (self.body[start:end] for start, end in itertools.pairwise(cuts))

    def reads(self) -> Iterator[bytes]:
        """The body in the pieces in which it came; in one where nobody noted them."""
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
    """One exchange of a recording, and the engine that its provider is (or would be by configuration alone)."""

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
        """The client asked for a stream; where the request is unknown, the answer tells."""
        if isinstance(self.request.body, dict) and "stream" in self.request.body:
            return bool(self.request.body["stream"])
        return self.response.is_stream or "stream" in self.recording.features


@lru_cache(maxsize=1)
def recordings() -> tuple[Recording, ...]:
    """All of them. Skips the test, or the module whose import asks, where the folder is absent."""
    if not FOLDER.is_dir():
        reason = f"no recorded traffic at {FOLDER} (LLM_SERVER_SHARED names its parent folder)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)
    return tuple(_read(path) for path in sorted(FOLDER.glob("*/*.json")))


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """Every recorded chat exchange of a wire that we speak."""
    return tuple(
        Case(recording, engine_of(recording), index, request, response)
        for recording in recordings()
        if recording.api in DIALECTS and recording.name not in NOT_ANSWERS
        for index, (request, response) in enumerate(recording.exchanges)
    )


def expected(case: Case) -> oracle.Answer | oracle.Failure:
    """What is in the answer, by a decoder that shares no code with ours."""
    return _expected(case.engine.dialect, case.engine.quirks.think_tags, case.response.status, case.response.body)


@cache  # many tests ask for each, and none changes it
def _expected(dialect: str, think_tags: bool, status: int, body: bytes) -> oracle.Answer | oracle.Failure:
    if dialect == "openai-responses":
        return oracle_responses.read(status, body)
    said = oracle.read(dialect, status, body)
    if think_tags and isinstance(said, oracle.Answer):
        return oracle.without_think_tags(said)
    return said


def engine_of(recording: Recording) -> Engine:
    """The record of the provider where it speaks that API, else what configuration alone would make of it."""
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
