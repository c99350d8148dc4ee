"""Messages reshaped for engines: rounds, open tool calls, reasoning in its place, media in tool results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from llm.chat.messages import Citation, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, list_sources
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dict, as_dicts, as_list, as_text


@dataclass(frozen=True, slots=True)
class PlacedReasoning:
    """A reasoning part and its place in an answer, for wires and clients that do not keep the order of parts."""

    part: Reasoning
    characters: int = 0  # of text before it
    calls: int = 0  # tool calls before it


def place_reasoning(parts: Sequence[Part], placed: Sequence[PlacedReasoning]) -> tuple[Part, ...]:
    """Puts reasoning between the other parts of an answer, which are in order; a text around it is split."""
    waiting = [*placed]
    out: list[Part] = []
    characters = calls = 0
    for part in parts:
        if isinstance(part, Text):
            end = characters + len(part.text)
            while waiting and waiting[0].calls <= calls and waiting[0].characters < end:
                size = max(waiting[0].characters - characters, 0)
                if size:
                    out.append(Text(part.text[:size]))
                    part = replace(part, text=part.text[size:])
                    characters += size
                out.append(waiting.pop(0).part)
            characters = end
        elif isinstance(part, ToolCall):
            while waiting and waiting[0].calls <= calls:
                out.append(waiting.pop(0).part)
            calls += 1
        out.append(part)
    return (*out, *(one.part for one in waiting))


_NOT_RUN: Final = "This tool was not run."  # the result of a call without one, for the model


def split_rounds(answer: Message) -> tuple[Message, ...]:
    """Splits an answer of the tool loop into the messages of its rounds: calls, their results, the next round.

    Results are in the order of their calls. Calls of the executor "server" become calls of "client", as engines know no
    other.
    """
    messages: list[Message] = []
    parts: list[Part] = []
    results: list[ToolResult] = []
    for part in answer.parts:
        if isinstance(part, ToolResult):
            results.append(part)
            continue
        if results:
            messages += _write_round(parts, results)
            parts, results = [], []
        parts.append(part)
    return (*messages, *_write_round(parts, results))


def _write_round(parts: Sequence[Part], results: Sequence[ToolResult]) -> list[Message]:
    client_parts = tuple(
        ToolCall(part.id, part.name, part.arguments, "client", part.metadata)
        if isinstance(part, ToolCall) and part.executor == "server"
        else part
        for part in parts
    )
    order = {call.id: number for number, call in enumerate(p for p in client_parts if isinstance(p, ToolCall))}
    in_order = tuple(sorted(results, key=lambda result: order.get(result.call_id, len(order))))
    messages = [Message("assistant", client_parts)] if client_parts else []
    return [*messages, Message("user", in_order)] if in_order else messages


def close_open_calls(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Adds a result to every tool call of the client that has none; the result says that the tool was not run.

    Engines refuse a history with an open tool call.
    """
    out: list[Message] = []
    open_calls: list[ToolCall] = []
    for message in messages:
        ids = {part.call_id for part in message.parts if isinstance(part, ToolResult)}
        missing = tuple(_write_not_run(call) for call in open_calls if call.id not in ids)
        if missing and ids:
            message = replace(message, parts=(*missing, *message.parts))
        elif missing:
            out.append(Message("user", missing))
        out.append(message)
        open_calls = [part for part in message.parts if isinstance(part, ToolCall) and part.executor == "client"]
    return (*out, Message("user", tuple(map(_write_not_run, open_calls)))) if open_calls else tuple(out)


def _write_not_run(call: ToolCall) -> ToolResult:
    return ToolResult(call.id, (Text(_NOT_RUN),), is_error=True, name=call.name)


_PLACEHOLDER: Final = "Attached below."  # the text of a result that has only media; some engines refuse an empty one


def move_media_out_of_results(message: Message, stays_in_result: Callable[[Media], bool] = lambda _: False) -> Message:
    """Moves media out of the tool results of a user message, for wires whose results hold only text.

    The result has all tool results first, then the moved media, then the other parts. Media for which
    ``stays_in_result`` is true is not moved. A message without such media is returned as it is.
    """
    if message.role != "user":
        return message
    results: list[Part] = []
    media: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            continue
        moved = [one for one in part.content if isinstance(one, Media) and not stays_in_result(one)]
        if moved:
            content = tuple(one for one in part.content if one not in moved)
            has_text = any(isinstance(one, Text) and one.text for one in content)
            part = replace(part, content=content if has_text else (*content, Text(_PLACEHOLDER)))
            media += [Text(f"Attachments from tool call {part.call_id}:"), *moved]
        results.append(part)
    if not media:
        return message
    rest = [part for part in message.parts if not isinstance(part, ToolResult)]
    return replace(message, parts=(*results, *media, *rest))


_WEB_RUNS: Final = ("web_search", "web_fetch")


def is_web_run(name: str) -> bool:
    """True for the name of a call of a hosted tool for the web."""
    return name in _WEB_RUNS


def read_sources(result: Json) -> list[Citation]:
    """Returns the pages in the result of a hosted tool for the web."""
    found = as_dicts(result) if isinstance(result, list) else [as_dict(result)]
    return [Citation(as_text(page.get("url")), as_text(page.get("title")) or None) for page in found if page.get("url")]


def describe_web_run(arguments: str, result: Json, sources: Iterable[Citation] = ()) -> str:
    """Returns a text about a search or a fetched page, for engines that do not know the call.

    ``sources``: those of the answer, for a search whose result is not known. "" if nothing is known of it.
    """
    try:
        asked = as_dict(loads(arguments or "{}"))
    except ValueError:
        asked = {}
    page = as_dict(result)
    if url := as_text(asked.get("url")) or as_text(page.get("url")):
        text = as_text(page.get("text")) or as_text(as_dict(as_dict(page.get("content")).get("source")).get("data"))
        return f"[Fetched {url}:\n{text}]" if text else f"[Fetched {url}.]"
    queries = [as_text(query) for query in as_list(asked.get("queries"))]
    query = ", ".join(f'"{one}"' for one in ([as_text(asked.get("query"))] if asked.get("query") else queries) if one)
    about = f"Searched the web for {query}" if query else "Searched the web"
    if code := as_text(page.get("error_code")):
        return f"[{about}, which failed: {code}.]"
    lines = _list_pages(result) or list_sources(sources).strip()
    if not query and not lines:
        return ""
    return f"[{about}. {lines}]" if lines else f"[{about}.]"


def _list_pages(result: Json) -> str:
    """Returns one line for each page of a search, with its text where the client has it."""
    lines = []
    for page in as_dicts(result):
        url, title, text = (as_text(page.get(name)) for name in ("url", "title", "text"))
        if url:
            lines.append(f"- [{title or url}]({url}){': ' + text if text else ''}")
    return "\n".join(("Found:", *lines)) if lines else ""
