"""Parts of a response: the open item of a stream, citations, tools, and the tools of this wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import Event, PartEnded, ToolCallDelta, ToolCallStarted, WholePart
from llm.chat.history import is_web_run, read_sources
from llm.chat.messages import Citation, ProviderToolRun, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata, metadata_for_client
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.openai_responses.shared import (
    NAME,
    TYPED_TOOL,
    pack_wire_form,
    read_call_names,
    read_fields,
    write_custom_tool,
)
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dict, as_list, as_text

_TEXT: Final[dict[str, Json]] = {"type": "string"}
_TEXTS: Final[dict[str, Json]] = {"type": "array", "items": _TEXT}
_NUMBER: Final[dict[str, Json]] = {"type": "integer"}


@dataclass(frozen=True, slots=True)
class BuiltInTool:
    """A tool that this wire defines and the client runs: a function to engines of other wires.

    Sources: the types of openai 3.57.0 (``FunctionShellToolParam`` and the items of the calls).
    """

    description: str
    parameters: Mapping[str, Json]
    field: str  # of the item of a call, with the arguments
    defaults: Mapping[str, Json]  # of the arguments, which clients expect

    def read_arguments(self, arguments: str) -> dict[str, Json]:
        """Returns the arguments of a call for its item."""
        try:
            value: Json = loads(arguments or "{}")
        except ValueError:
            value = None
        return {**self.defaults, **as_dict(value)}


def _make_schema(required: tuple[str, ...], **properties: Json) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": [*required]}


BUILT_IN_TOOLS: Final[Mapping[str, BuiltInTool]] = {
    "local_shell": BuiltInTool(
        "Runs a command on the user's machine.",
        _make_schema(
            ("command",),
            command={**_TEXTS, "description": "The program and its arguments"},
            env={"type": "object", "additionalProperties": _TEXT, "description": "Environment variables"},
            working_directory=_TEXT,
            timeout_ms=_NUMBER,
            user=_TEXT,
        ),
        "action",
        {"type": "exec", "command": [], "env": {}},
    ),
    "shell": BuiltInTool(
        "Runs commands in a shell on the user's machine.",
        _make_schema(
            ("commands",),
            commands={**_TEXTS, "description": "Each is a whole command line"},
            timeout_ms=_NUMBER,
            max_output_length={**_NUMBER, "description": "Characters of the output of each command"},
        ),
        "action",
        {"commands": [], "timeout_ms": None, "max_output_length": None},
    ),
    "apply_patch": BuiltInTool(
        "Creates, updates or deletes one file.",
        _make_schema(
            ("type", "path"),
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff={
                "type": "string",
                "description": "For create_file and update_file: lines that begin with + (added), - (removed) or a "
                "space (as they are), in sections that begin with @@",
            },
        ),
        "operation",
        {},
    ),
}


def read_built_in_tool(kind: str, wire: Mapping[str, Any]) -> ToolSpec | None:
    """Reads a tool that this wire defines; None if the client does not run it."""
    tool = BUILT_IN_TOOLS.get(kind)
    environment = as_text(as_dict(wire.get("environment")).get("type"))
    if tool is None or environment.startswith("container"):
        return None
    return ToolSpec(kind, tool.description, tool.parameters, metadata=pack_wire_form(**{TYPED_TOOL: dict(wire)}))


def find_built_in_tools(tools: Iterable[ToolSpec]) -> frozenset[str]:
    """Returns the names of those tools that this wire defines."""
    packed = (tool.name for tool in tools if any(TYPED_TOOL in opaque.data for opaque in tool.metadata))
    return frozenset(packed) & BUILT_IN_TOOLS.keys()


class OpenItem:
    """An item of a response that is not complete yet: a message, reasoning or a call."""

    __slots__ = (
        "annotations", "buffer", "delta_prefix", "extra_fields", "id", "index_field", "is_refusal", "output_index",
        "type",
    )  # fmt: skip

    _PREFIXES: Final[Mapping[str, str]] = {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
        "custom_tool_call": "ctc",
        "local_shell_call": "lsh",
        "shell_call": "sh",
        "apply_patch_call": "apc",
    }

    def __init__(self, type: str, output_index: int, extra_fields: Mapping[str, Json], is_refusal: bool) -> None:
        self.type = type
        self.is_refusal = is_refusal
        self.id = f"{self._PREFIXES[type]}_{token_hex(12)}"
        self.output_index = output_index
        self.extra_fields: dict[str, Json] = dict(extra_fields)
        self.index_field = ""  # the name of its part index field; "" before its part is open
        self.buffer = StringIO()
        self.annotations: list[Json] = []
        self.delta_prefix = b""  # first bytes of all its deltas

    def write_part(self) -> dict[str, Json]:
        """Writes the only part of a message or of reasoning, as of now."""
        text = self.buffer.getvalue()
        if self.type == "reasoning":
            return {"type": "summary_text", "text": text}
        if self.is_refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [*self.annotations], "logprobs": []}

    def write(self, status: str) -> dict[str, Json]:
        """Writes the item with a status."""
        wire: dict[str, Json] = {"id": self.id, "type": self.type}
        parts: list[Json] = [self.write_part()] if self.index_field else []
        text, ended = self.buffer.getvalue(), status != "in_progress"
        match self.type:
            case "message":
                wire |= {"status": status, "role": "assistant", "content": parts}
            case "reasoning":
                wire |= {"status": status, "summary": parts}
            case "custom_tool_call":
                wire |= {"status": status, "input": text if ended else ""}
            case _ if tool := BUILT_IN_TOOLS.get(self.type.removesuffix("_call")):
                wire |= {"status": status, tool.field: tool.read_arguments(text if ended else "")}
            case _:
                wire |= {"status": status, "arguments": text or "{}" if ended else ""}
        return {**wire, **self.extra_fields}


def write_citation(citation: Citation) -> Json:
    """Writes a citation. Offsets are written only if the engine sent them, since clients rely on them."""
    if fields := metadata_for_client(citation.metadata, NAME):
        return dict(fields)
    wire: dict[str, Json] = {"type": "url_citation", "url": citation.url or "", "title": citation.title or ""}
    if citation.start is not None and citation.end is not None:
        wire |= {"start_index": citation.start, "end_index": citation.end}
    return wire


def write_tool(tool: ToolSpec) -> Json:
    """Writes a tool of the request as the response repeats it."""
    if tool.freeform is not None:
        return write_custom_tool(tool, tool.freeform)
    if typed := as_dict(read_fields(tool.metadata, "").get(TYPED_TOOL)):
        return dict(typed)
    wire: dict[str, Json] = {"type": "function", "name": tool.name, "description": tool.description}
    return {**wire, "parameters": dict(tool.parameters), "strict": bool(tool.strict)}


def write_tool_choice(request: ChatRequest) -> Json:
    """Writes the tool choice of the request as the response repeats it: a word, one tool, or the allowed tools."""
    options = request.options
    kind, _, name = (options.tool_choice or "auto").partition(":")
    tools = {tool.name: tool for tool in request.tools}
    if options.allowed_tools:
        allowed: list[Json] = [_write_reference(name, tools.get(name)) for name in options.allowed_tools]
        return {"type": "allowed_tools", "mode": kind, "tools": allowed}
    return _write_reference(name, tools.get(name)) if name else kind


def _write_reference(name: str, tool: ToolSpec | None) -> dict[str, Json]:
    if tool is None:
        return {"type": "function", "name": name}
    if tool.executor == "provider" or find_built_in_tools((tool,)):  # its name is its type
        return {"type": name}
    return {"type": "custom" if tool.freeform is not None else "function", **read_call_names(tool)}


class WebRuns:
    """The stage that writes searches and fetched pages of other wires as items of this one."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[ToolCallStarted, list[str]]] = {}  # calls, with their arguments, by index

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
                yield started
                yield ToolCallDelta(index, "".join(pieces))
                if not any(opaque.dialect == NAME for opaque in metadata):
                    metadata = _write_web_item(started.name, "".join(pieces), run)
                yield PartEnded(index, metadata, run)
            case WholePart(index, UnknownPart(_, ProviderToolRun() as run)) if is_web_run(run.name):
                yield WholePart(index, UnknownPart(_write_web_item(run.name, run.arguments, run), run))
            case _:
                yield event


def _write_web_item(name: str, arguments: str, run: ProviderToolRun | None) -> Metadata:
    """Returns the item of a search or of an opened page."""
    try:
        asked = as_dict(loads(arguments or "{}"))
    except ValueError:
        asked = {}
    if name == "web_fetch":
        action: dict[str, Json] = {"type": "open_page", "url": as_text(asked.get("url"))}
    else:
        queries = [*as_list(asked.get("queries"))]
        query = as_text(asked.get("query")) or as_text(next(iter(queries), ""))
        action = {"type": "search", "query": query, "queries": queries or [query]}
        if run is not None and (sources := [one.url for one in read_sources(run.result)]):
            action["sources"] = [{"type": "url", "url": url} for url in sources]
    status = "failed" if run is not None and run.state == "error" else "completed"
    item: dict[str, Json] = {"id": f"ws_{token_hex(12)}", "type": "web_search_call", "status": status, "action": action}
    return (ProviderMetadata(NAME, None, item),)
