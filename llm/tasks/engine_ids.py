"""Ids of files and batches that carry their engine: ``openai~file-123``; and the bodies that hold such ids.

A line of a batch file is one request (https://platform.openai.com/docs/guides/batch); Anthropic's batches have the
requests in the body (https://docs.anthropic.com/en/api/creating-message-batches).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from llm.errors import InvalidRequest, NotFound
from llm.wire.json_codec import dump_bytes, loads
from llm.wire.json_lenient import as_dict, as_text

_ID: Final = re.compile(r"([a-z][a-z0-9_-]{0,31})~(.{1,300})", re.DOTALL)
# A field of a batch line with such an id.
_LINE_ID: Final = re.compile(rb'((?<!\\)"file_id"\s*:\s*")([a-z][a-z0-9_-]{0,31})~([A-Za-z0-9_.-]{1,300}")')
# Fields of requests that hold an id, or a list of ids.
_REQUEST_FIELDS: Final = frozenset({"file_id", "file_ids", "input_file_id", "part_ids"})
# Fields of answers that hold an id of a file, an upload or a batch.
_ID_FIELDS: Final = frozenset({
    "id", "first_id", "last_id", "file_id", "input_file_id", "output_file_id", "error_file_id", "upload_id", "batch_id",
})  # fmt: skip
_MODEL: Final = re.compile(rb'(?<!\\)"model"\s*:\s*("(?:[^"\\]|\\.)*")')
MARK: Final = b"file_id"  # a chat without it has no such id


class EngineId(NamedTuple):
    """An id at an engine."""

    engine: str
    id: str


def split_id(text: object) -> EngineId | None:
    """Returns the parts of an id that carries its engine; None for any other text.

    >>> split_id("openai~file-1")
    EngineId(engine='openai', id='file-1')
    """
    match = _ID.fullmatch(text) if isinstance(text, str) else None
    return EngineId(match[1], match[2]) if match else None


def join_id(engine: str, id: str) -> str:
    """Returns the id with its engine."""
    return f"{engine}~{id}"


def map_ids(value: Any, change: Callable[[str], str]) -> Any:
    """Returns JSON of an engine's answer with its ids changed, those of inner objects too."""
    if isinstance(value, dict):
        return {
            name: change(one) if name in _ID_FIELDS and isinstance(one, str) and one else map_ids(one, change)
            for name, one in value.items()
        }
    return [map_ids(one, change) for one in value] if isinstance(value, list) else value


def find_ids(value: Any) -> Iterator[EngineId]:
    """Yields the ids with their engine in the fields of a client's JSON."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in _REQUEST_FIELDS:
                texts = one if isinstance(one, list) else [one]
                yield from (found for text in texts if (found := split_id(text)) is not None)
            elif isinstance(one, dict | list):
                yield from find_ids(one)
    elif isinstance(value, list):
        for one in value:
            yield from find_ids(one)


def remove_engine(value: Any, owned: frozenset[EngineId]) -> Any:
    """Returns a client's JSON with these ids as their engine knows them."""
    if isinstance(value, dict):
        return {
            name: _remove_from_field(one, owned) if name in _REQUEST_FIELDS else remove_engine(one, owned)
            for name, one in value.items()
        }
    return [remove_engine(one, owned) for one in value] if isinstance(value, list) else value


def _remove_from_field(value: Any, owned: frozenset[EngineId]) -> Any:
    if isinstance(value, list):
        return [_remove_from_field(one, owned) for one in value]
    found = split_id(value)
    return found.id if found is not None and found in owned else value


def read_line_engine(line: bytes) -> str | None:
    """Returns the engine of ``body.model`` of a batch line; None if it names none."""
    try:
        model = as_text(as_dict(as_dict(loads(line)).get("body")).get("model"))
    except ValueError:
        return None
    engine, slash, _ = model.partition("/")
    return engine if slash else None


class BatchLines:
    """Writes the lines of a batch file for one engine: models without the engine, ids as the engine knows them.

    ``is_owned``: whether the caller may use this id.
    """

    def __init__(self, engine: str, engines: frozenset[str]) -> None:
        self.ids: set[str] = set()  # ids of the engine that the lines name
        self._engine = engine
        self._engines = engines

    def write(self, line: bytes, number: int) -> bytes:
        """Returns a line, unchanged where it names no engine. Raises ``InvalidRequest`` for another engine's model."""
        if MARK in line:
            line = _LINE_ID.sub(self._write_id, line)
        if self._engine.encode() + b"/" not in line and not self._names_another(line):
            return line
        try:
            wire = loads(line)
        except ValueError:
            return line  # the engine reports it, with its place
        model = as_text(as_dict(as_dict(wire).get("body")).get("model"))
        engine, slash, bare = model.partition("/")
        if slash and engine in self._engines and engine != self._engine:
            place = f"line {number}: body.model"
            message = f"{place}: a batch is for one engine; the first line names {self._engine}, this one {engine}."
            raise InvalidRequest(message, param="file")
        if not slash or engine != self._engine:
            return line
        found = [one for one in _MODEL.finditer(line) if loads(one[1]) == model]
        if len(found) == 1:
            return line[: found[0].start(1)] + dump_bytes(bare) + line[found[0].end(1) :]
        end = line[len(line.rstrip()) :]
        return dump_bytes({**wire, "body": {**wire["body"], "model": bare}}) + end

    def _names_another(self, line: bytes) -> bool:
        return any(one.encode() + b"/" in line for one in self._engines)

    def _write_id(self, match: re.Match[bytes]) -> bytes:
        if match[2].decode() != self._engine:
            return match[0]
        self.ids.add(match[3][:-1].decode())
        return match[1] + match[3]


def make_missing_error(id: str) -> NotFound:
    """Returns the error for an id that is no object of the caller."""
    return NotFound(f"There is no object with the id {id[:100]!r}.", param="id")


def strip_models(requests: Any, engines: Mapping[str, object]) -> tuple[Any, str | None]:
    """Returns the requests of an Anthropic batch with bare models, and their engine, if they name one.

    Raises ``InvalidRequest`` if they name several.
    """
    named: str | None = None
    changed = []
    for number, one in enumerate(requests if isinstance(requests, list) else ()):
        params = as_dict(as_dict(one).get("params"))
        engine, slash, bare = as_text(params.get("model")).partition("/")
        if slash and engine in engines:
            if named not in (None, engine):
                place = f"requests[{number}].params.model"
                raise InvalidRequest(f"{place}: a batch is for one engine, and others name {named}", param=place)
            named, one = engine, {**one, "params": {**params, "model": bare}}
        changed.append(one)
    return (changed if isinstance(requests, list) else requests), named
