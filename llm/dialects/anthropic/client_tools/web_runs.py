"""Writes what hosted tools for the web have done in the blocks of this wire, and reads it back.

Sources: https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool, the types of anthropic 2.14.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    PartEnded,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
)
from llm.chat.history import is_web_run
from llm.chat.messages import Citation, Part, ProviderToolRun, Text, ToolCall, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.dialects.anthropic.shared import NAME
from llm.wire.json_codec import Json, dumps, loads
from llm.wire.json_lenient import as_dict, as_dicts, as_list, as_text

# Marks of what this server has made of another engine's search: Anthropic would refuse it.
_OWN_ID: Final = "srvtoolu_llm"
_OWN_TEXT: Final = "llm-server:"  # in place of the content that only the model can read
_DIRECT: Final[Mapping[str, Json]] = {"type": "direct"}


class WebRuns:
    """The stage that writes searches and fetched pages of other wires in the blocks and citations of this one.

    A result that the engine does not give is made of the sources that it cites. Parts get new indexes, since a result
    is a part of its own.
    """

    def __init__(self) -> None:
        self._open: dict[int, tuple[ToolCallStarted, list[str]]] = {}  # calls, with their arguments, by index
        self._calls: dict[str, tuple[str, str]] = {}  # the id here and the name, by the engine's id
        self._without_result: dict[str, None] = {}  # engine's ids of searches
        self._sources: dict[str, Citation] = {}  # cited ones, by URL
        self._last = -1  # index of the last part
        self._counts = {"web_search_requests": 0, "web_fetch_requests": 0}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events in the forms of this wire."""
        return [converted for event in events for converted in self._convert(event)]

    def _convert(self, event: Event) -> Iterator[Event]:
        match event:
            case ToolCallStarted(index, _, name, "provider") if is_web_run(name):
                self._open[index] = event, []
            case ToolCallDelta(index, arguments) if index in self._open:
                self._open[index][1].append(arguments)
            case PartEnded(index, metadata, run) if index in self._open:
                started, pieces = self._open.pop(index)
                yield from self._end_call(started, "".join(pieces), metadata, run)
            case WholePart(index, UnknownPart(metadata, run)) if run is not None and not _is_own(metadata):
                yield from self._convert_run(index, event, run)
            case Cited(index, citation) if citation.url and not _is_own(citation.metadata):
                self._sources.setdefault(citation.url, citation)
                yield Cited(self._renumber(index), _write_citation(citation))
            case Finished():
                yield from self._end(event)
            case TextDelta(index, text):
                yield TextDelta(self._renumber(index), text)
            case Started() | UsageReported() | Failed():
                yield event
            case _:
                yield replace(event, index=self._renumber(event.index))

    def _renumber(self, index: int) -> int:
        self._last = max(self._last, 2 * index + 1)  # the odd number is for the result of a call
        return 2 * index

    def _end_call(
        self, started: ToolCallStarted, arguments: str, metadata: Metadata, run: ProviderToolRun | None
    ) -> Iterator[Event]:
        if _is_own(metadata):
            index = self._renumber(started.index)
            yield replace(started, index=index)
            if arguments:
                yield ToolCallDelta(index, arguments)
            yield PartEnded(index, metadata, run)
            return
        yield from self._write_call(started.index, started.id, started.name, arguments)
        if run is not None and run.result is not None:
            yield from self._write_result(2 * started.index + 1, run)

    def _convert_run(self, index: int, event: WholePart, run: ProviderToolRun) -> Iterator[Event]:
        """Converts a call that is one part, or a result that is a part of its own."""
        if is_web_run(run.name) and run.id not in self._calls:
            yield from self._write_call(index, run.id, run.name, run.arguments)
        if run.id not in self._calls:
            yield replace(event, index=self._renumber(index))
        elif run.result is not None:
            self._renumber(index)
            yield from self._write_result(2 * index + 1, run)

    def _write_call(self, index: int, id: str, name: str, arguments: str) -> Iterator[Event]:
        asked = _read_asked(name, arguments)
        if asked is None:  # a page that was opened in a search
            return
        own = self._calls.setdefault(id, (f"{_OWN_ID}{token_hex(10)}", name))[0]
        self._counts[f"{name}_requests"] += 1
        if name == "web_search":
            self._without_result[id] = None
        number = self._renumber(index)
        yield ToolCallStarted(number, own, name, "provider")
        yield ToolCallDelta(number, dumps(asked))
        yield PartEnded(number, _pack_block(type="server_tool_use", caller=dict(_DIRECT)))

    def _write_result(self, number: int, run: ProviderToolRun) -> Iterator[Event]:
        if run.id not in self._calls:
            return
        self._without_result.pop(run.id, None)
        own, name = self._calls[run.id]
        content = _write_page(run) if name == "web_fetch" else _write_pages(run)
        block = _pack_block(type=f"{name}_tool_result", tool_use_id=own, content=content, caller=dict(_DIRECT))
        self._last = max(self._last, number)
        yield WholePart(number, UnknownPart(block))

    def _end(self, finish: Finished) -> Iterator[Event]:
        """Writes results that are missing, and a search that shows only by its sources; counts both."""
        sources: list[Json] = [
            {"url": url, "title": one.title, "text": one.quote} for url, one in self._sources.items()
        ]
        if sources and not self._counts["web_search_requests"]:
            yield from self._write_call(self._last // 2 + 1, "", "web_search", "{}")
        for id in [*self._without_result]:
            run = ProviderToolRun(id=id, state="completed", result=sources)
            yield from self._write_result(self._last + 1, run)
            sources = []
        counts: dict[str, Json] = {name: count for name, count in self._counts.items() if any(self._counts.values())}
        more = _pack_block(usage={"server_tool_use": counts}) if counts else ()
        yield replace(finish, metadata=(*finish.metadata, *more))


def restore_web_runs(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Returns the parts of an answer with what :class:`WebRuns` has written as parts of another wire again."""
    return tuple(map(_restore, parts)) if any(map(_is_made_here, parts)) else parts


def _is_made_here(part: Part) -> bool:
    match part:
        case ToolCall(id, executor="provider"):
            return id.startswith(_OWN_ID)
        case UnknownPart(tool_run=ProviderToolRun() as run):
            return run.id.startswith(_OWN_ID)
        case Text(citations=citations):
            return any(map(_is_citation_made_here, citations))
    return False


def _is_citation_made_here(citation: Citation) -> bool:
    return any(opaque.data.get("encrypted_index") == _OWN_TEXT for opaque in citation.metadata)


def _restore(part: Part) -> Part:
    if not _is_made_here(part):
        return part
    match part:
        case ToolCall():
            return replace(part, metadata=())
        case Text(citations=citations):
            own = (replace(one, metadata=()) if _is_citation_made_here(one) else one for one in citations)
            return replace(part, citations=tuple(own))
        case UnknownPart(metadata, run) if run is not None:
            content = metadata[0].data.get("content")
            found = [{**page, "text": _read_text(page)} for page in as_dicts(content)]
            return UnknownPart((), replace(run, result=[*found]) if found else run)
    return part


def _read_text(page: Mapping[str, Any]) -> str:
    return as_text(page.get("encrypted_content")).removeprefix(_OWN_TEXT)


def _is_own(metadata: Metadata) -> bool:
    return any(opaque.dialect == NAME for opaque in metadata)


def _pack_block(**fields: Json) -> Metadata:
    return (ProviderMetadata(NAME, None, fields),)


def _read_asked(name: str, arguments: str) -> dict[str, Json] | None:
    """Returns the input of a call in this wire's form; None for an action that it does not have."""
    try:
        asked = as_dict(loads(arguments or "{}"))
    except ValueError:
        asked = {}
    url = as_text(asked.get("url"))
    if name == "web_fetch" or url:
        return {"url": url} if name == "web_fetch" else None
    query = as_text(asked.get("query")) or next((as_text(one) for one in as_list(asked.get("queries"))), "")
    return {"query": query} if query else {}


def _write_citation(citation: Citation) -> Citation:
    wire: dict[str, Json] = {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": citation.quote or "",
        "encrypted_index": _OWN_TEXT,
    }
    return replace(citation, metadata=(ProviderMetadata(NAME, None, wire),))


def _write_pages(run: ProviderToolRun) -> Json:
    if run.state == "error":
        return {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    return [
        {
            "type": "web_search_result",
            "url": page["url"],
            "title": as_text(page.get("title")) or page["url"],
            "encrypted_content": _OWN_TEXT + as_text(page.get("text")),
            "page_age": as_text(page.get("page_age")) or None,
        }
        for page in as_dicts(run.result)
        if page.get("url")
    ]


def _write_page(run: ProviderToolRun) -> Json:
    page = as_dict(run.result)
    if run.state == "error":
        return {"type": "web_fetch_tool_result_error", "error_code": "unavailable"}
    source: Json = {"type": "text", "media_type": "text/plain", "data": as_text(page.get("text"))}
    document: Json = {
        "type": "document",
        "source": source,
        "title": as_text(page.get("title")) or None,
        "citations": None,
    }
    return {"type": "web_fetch_result", "url": as_text(page.get("url")), "content": document, "retrieved_at": None}
