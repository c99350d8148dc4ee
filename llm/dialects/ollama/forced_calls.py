"""Calls of tools that have to be called. Ollama cannot force a call, but it can force JSON after a schema (``format``).

The model is asked for the arguments of the tool, or for a name and arguments where there are several tools, and what it
answers becomes the call. https://docs.ollama.com/capabilities/structured-outputs
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Final

from llm.chat.events import Event, Finished, PartEnded, TextDelta, ToolCallDelta, ToolCallStarted, final_finish_reason
from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest, ToolSpec
from llm.engines.engine import Engine
from llm.wire.json_codec import Json, dumps, loads

_CHOICE: Final = "tool:"
_ONE: Final = "Call the tool {name} now: answer with its arguments as one JSON object and nothing else."
_SEVERAL: Final = (
    'Call one of these tools now: answer with one JSON object and nothing else, {"name": …, "arguments": …}.'
)


def find_forced_tools(request: ChatRequest, engine: Engine) -> tuple[ToolSpec, ...]:
    """Returns the tools of which one has to be called; none if that is not asked for, or cannot be had.

    It cannot where the answer has to be JSON of the client's own schema, or an old server knows no schemas.
    """
    choice, tools = request.options.tool_choice or "", request.tools
    if not engine.quirks.json_schema or request.options.format is not None:
        return ()
    if choice == "required":
        return tools
    return tuple(tool for tool in tools if choice.startswith(_CHOICE) and tool.name == choice[len(_CHOICE) :])


def ask_for_call(request: ChatRequest, tools: Sequence[ToolSpec], schemas: Sequence[Json]) -> ChatRequest:
    """Returns the request with a prompt for a call of one of ``tools`` in their place. ``schemas``: of arguments."""
    lines = [_ONE.replace("{name}", tools[0].name) if len(tools) == 1 else _SEVERAL]
    for tool, schema in zip(tools, schemas, strict=True):
        lines.append(f"{tool.name}: {tool.description}\nArguments (JSON Schema): {dumps(schema)}")
    prompt = Text("\n\n".join(lines))
    messages = request.messages
    if messages and messages[0].role == "system":
        first = replace(messages[0], parts=(*messages[0].parts, Text("\n\n" + prompt.text)))
        messages = (first, *messages[1:])
    else:
        messages = (Message("system", (prompt,)), *messages)
    return replace(request, messages=messages, tools=(), options=replace(request.options, tool_choice=None))


def make_call_schema(tools: Sequence[ToolSpec], schemas: Sequence[Json]) -> Json:
    """Returns the schema of the answer: the arguments of the only tool, or a name and its arguments."""
    if len(tools) == 1:
        return schemas[0]
    calls: list[Json] = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": schema},
            "required": ["name", "arguments"],
        }
        for tool, schema in zip(tools, schemas, strict=True)
    ]
    return {"anyOf": calls}


class ForcedCall:
    """Turns the text of an answer into a call. ``names``: of the tools; a text that is no JSON object stays a text."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._called = False
        self._plain: set[int] = set()  # parts that stay texts
        self._open: dict[int, str] = {}  # parts that become calls, and of several tools their text so far

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Returns the events with calls in the place of texts."""
        out: list[Event] = []
        for event in events:
            match event:
                case TextDelta(index) if index not in self._plain:
                    out += self._read_text(event)
                case PartEnded(index) if index in self._open:
                    out += self._end(event)
                case ToolCallStarted():  # a server that calls in spite of the format
                    self._called = True
                    out.append(event)
                case Finished():
                    out.append(replace(event, reason=final_finish_reason(event.reason, self._called)))
                case _:
                    out.append(event)
        return out

    def _read_text(self, delta: TextDelta) -> list[Event]:
        index = delta.index
        is_open = index in self._open
        if not is_open:
            text = delta.text.lstrip()
            if not text:
                return []
            if text[0] != "{":
                self._plain.add(index)
                return [delta]
        self._open[index] = self._open.get(index, "") + delta.text
        if len(self._names) > 1:
            return []
        piece = ToolCallDelta(index, delta.text)
        return [piece] if is_open else [self._start(index, self._names[0]), piece]

    def _start(self, index: int, name: str) -> ToolCallStarted:
        self._called = True
        return ToolCallStarted(index, f"call_{token_hex(12)}", name)

    def _end(self, end: PartEnded) -> list[Event]:
        text = self._open.pop(end.index)
        if len(self._names) == 1:
            return [end]
        try:
            value = loads(text)
        except ValueError:  # cut off
            value = None
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in self._names:
            return [TextDelta(end.index, text), end]
        return [self._start(end.index, name), ToolCallDelta(end.index, dumps(value.get("arguments") or {})), end]
