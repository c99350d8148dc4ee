"""Cache marks of a client of one wire, in the words of an engine of another one, at the same places of the prompt.

Two forms are known: ``cache_control`` (Anthropic, OpenRouter and what imitates them: on parts, calls, results, tools,
messages and the request) and ``prompt_cache_breakpoint`` (OpenAI: on texts, pictures and files of the input).
https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching, https://openrouter.ai/docs/features/prompt-caching,
https://platform.openai.com/docs/guides/prompt-caching
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.chat.request import ChatRequest, ToolSpec
from llm.engines.engine import Engine, MarkField
from llm.engines.globs import matches
from llm.wire.json_codec import Json

CACHE_CONTROL: Final[MarkField] = "cache_control"
BREAKPOINT: Final[MarkField] = "prompt_cache_breakpoint"
_FIELDS: Final = (CACHE_CONTROL, BREAKPOINT)
_MARKED: Final[frozenset[str]] = frozenset(_FIELDS)
_MOST: Final = 4  # marks with ``cache_control`` in one request
# ``ttl`` of the other form to the next longer one here; the rest is the default, the shortest one.
_LIFETIMES: Final[Mapping[MarkField, Mapping[str, str]]] = {
    CACHE_CONTROL: {"30m": "1h", "12h": "1h"},
    BREAKPOINT: {"1h": "12h"},
}


def find_mark_field(engine: Engine, model: str) -> MarkField | None:
    """Returns the field for marks of a model behind one of OpenAI's APIs; None: it has none."""
    marks = engine.cache_marks
    return marks.field if marks is not None and matches(model, marks.models) else None


def move_cache_marks(
    request: ChatRequest, dialect: str, field: MarkField, dropped: list[str], *, whole_messages: bool = False
) -> ChatRequest:
    """Returns the request with the marks of a client of another dialect as fields of ``dialect``, named ``field``.

    Marks that have no place there, or are too many, are appended to ``dropped``: the first one and the last three stay,
    since what is between them is read from the cache by the later ones. ``whole_messages``: a call has no place of its
    own, but its message has.
    """
    for metadata in _list_metadata(request):
        if _has_mark(metadata, dialect):
            break
    else:
        return request
    mover = _Mover(dialect, field, whole_messages)
    moved = mover.move(request)
    if field == CACHE_CONTROL and mover.count > _MOST:
        last = range(mover.count - _MOST + 1, mover.count)
        mover = _Mover(dialect, field, whole_messages, kept=(0, *last))
        moved = mover.move(request)
    dropped += mover.dropped
    return moved


def _list_metadata(request: ChatRequest) -> list[Metadata]:
    found = [request.metadata] if request.metadata else []
    for tool in request.tools:
        if tool.metadata:
            found.append(tool.metadata)
    for message in request.messages:
        if message.metadata:
            found.append(message.metadata)
        for part in message.parts:
            if part.metadata:
                found.append(part.metadata)
            if type(part) is ToolResult:
                found += [inner.metadata for inner in part.content if inner.metadata]
    return found


def _has_mark(metadata: Metadata, dialect: str) -> bool:
    return any(
        item.issuer is None and item.dialect != dialect and not _MARKED.isdisjoint((*item.data, *_inner(item.data)))
        for item in metadata
    )


def _inner(data: Mapping[str, Json]) -> Mapping[str, Json]:
    """Returns the fields of a tool's function, where some clients put the mark."""
    function = data.get("function")
    return function if isinstance(function, dict) else {}


def _split(data: Mapping[str, Json]) -> tuple[Mapping[str, Json], Mapping[str, Any] | None]:
    """Returns the fields without marks, also inside a tool's function, and the last mark."""
    mark: Mapping[str, Any] | None = None
    rest = {name: value for name, value in data.items() if name not in _FIELDS}
    for name in _FIELDS:
        value = data.get(name)
        mark = value if isinstance(value, dict) else mark
    if function := _inner(rest):
        inner, inner_mark = _split(function)
        rest["function"] = dict(inner)
        mark = inner_mark or mark
        if not inner:
            del rest["function"]
    return rest, mark


def _find_lifetime(metadata: Metadata) -> Any:
    """Returns the ``ttl`` of a request, which holds for the breakpoints that have none."""
    options = [item.data.get("prompt_cache_options") for item in metadata if item.issuer is None]
    return next((one["ttl"] for one in options if isinstance(one, dict) and one.get("ttl")), None)


def _write_mark(mark: Mapping[str, Any], field: MarkField, request_lifetime: Any) -> Json:
    if ("mode" in mark) == (field == BREAKPOINT):
        return dict(mark)
    kind: dict[str, Json] = {"mode": "explicit"} if field == BREAKPOINT else {"type": "ephemeral"}
    lifetime = _LIFETIMES[field].get(str(mark.get("ttl") or request_lifetime))
    return {**kind, "ttl": lifetime} if lifetime else kind


class _Mover:
    """Moves the marks of one request. ``kept``: the numbers of the marks that stay; None: all."""

    def __init__(
        self, dialect: str, field: MarkField, whole_messages: bool, kept: Collection[int] | None = None
    ) -> None:
        self.count = 0  # marks that have a place
        self.dropped: list[str] = []
        self._dialect = dialect
        self._field = field
        self._kept = kept
        self._lifetime: Any = None
        self._whole_messages = whole_messages and field == CACHE_CONTROL

    def move(self, request: ChatRequest) -> ChatRequest:
        """Moves all marks, in the order of the prompt: tools, messages, and the one that stands for its end."""
        self._lifetime = _find_lifetime(request.metadata)
        tools = tuple(self._move_tool(tool) for tool in request.tools)
        messages = tuple(self._move_message(message) for message in request.messages)
        rest, mark = self._take(request.metadata)
        rest = self._put(rest, mark, has_place=self._field == CACHE_CONTROL)
        return replace(request, tools=tools, messages=messages, metadata=rest)

    def _move_tool(self, tool: ToolSpec) -> ToolSpec:
        if tool.executor == "provider":
            return tool
        rest, mark = self._take(tool.metadata)
        return replace(tool, metadata=self._put(rest, mark, has_place=self._field == CACHE_CONTROL))

    def _move_message(self, message: Message) -> Message:
        parts = [*message.parts]
        fields, of_message = self._take(message.metadata)
        last = next((n for n in range(len(parts) - 1, -1, -1) if not isinstance(parts[n], Reasoning)), None)
        for number, part in enumerate(parts):
            part, mark = self._take_from_part(part)
            if number == last:
                mark, of_message = mark or of_message, None
            if mark is not None and number == last and self._whole_messages and isinstance(part, ToolCall):
                fields, mark = self._put(fields, mark, has_place=True), None
            parts[number] = part if mark is None else self._mark(part, mark, message.role)
        fields = self._put(fields, of_message, has_place=False)
        return replace(message, parts=tuple(parts), metadata=fields)

    def _take_from_part(self, part: Part) -> tuple[Part, Mapping[str, Any] | None]:
        """Returns the part without its mark, and the mark; one inside a result is a mark of the result."""
        if isinstance(part, UnknownPart):
            return part, None
        rest, mark = self._take(part.metadata)
        if isinstance(part, ToolResult):
            content: list[Text | Media | UnknownPart] = []
            for inner in part.content:
                inner_rest, inner_mark = self._take(inner.metadata)
                content.append(replace(inner, metadata=inner_rest))
                mark = inner_mark or mark
            return replace(part, content=tuple(content), metadata=rest), mark
        return (part if rest is part.metadata else replace(part, metadata=rest)), mark

    def _mark(self, part: Part, mark: Mapping[str, Any], role: str) -> Part:
        if self._field == CACHE_CONTROL:
            is_blank = isinstance(part, Text) and not part.text.strip()
            has_place = not is_blank and not isinstance(part, Reasoning | UnknownPart)
            has_place = has_place and not (isinstance(part, ToolCall) and self._whole_messages)
            return replace(part, metadata=self._put(part.metadata, mark, has_place=has_place))
        if isinstance(part, ToolResult) and part.content:
            *others, end = part.content
            end = replace(end, metadata=self._put(end.metadata, mark, has_place=isinstance(end, Text)))
            return replace(part, content=(*others, end))
        has_place = isinstance(part, Text | Media) and role != "assistant"
        return replace(part, metadata=self._put(part.metadata, mark, has_place=has_place))

    def _take(self, metadata: Metadata) -> tuple[Metadata, Mapping[str, Any] | None]:
        """Returns the metadata without the marks of other dialects, and the last mark."""
        if not _has_mark(metadata, self._dialect):
            return metadata, None
        mark: Mapping[str, Any] | None = None
        rest: list[ProviderMetadata] = []
        for item in metadata:
            if item.issuer is None and item.dialect != self._dialect:
                data, found = _split(item.data)
                mark, item = found or mark, replace(item, data=data)
            rest.append(item)
        return tuple(rest), mark

    def _put(self, metadata: Metadata, mark: Mapping[str, Any] | None, *, has_place: bool) -> Metadata:
        """Adds the mark to the metadata, or its name to what is dropped."""
        if mark is None:
            return metadata
        number = self.count
        self.count += has_place
        if not has_place or (self._kept is not None and number not in self._kept):
            self.dropped.append(BREAKPOINT if "mode" in mark else CACHE_CONTROL)
            return metadata
        return (
            *metadata,
            ProviderMetadata(self._dialect, None, {self._field: _write_mark(mark, self._field, self._lifetime)}),
        )
