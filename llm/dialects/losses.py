"""Client fields and parts that a dialect cannot write: rewritten, dropped with their names, or refused.

In a history, a call that a provider ran becomes a call and its result, as if the client had run it, and a summary takes
the place of what it stands for. So a conversation can change its engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from llm.chat.history import describe_web_run, is_web_run
from llm.chat.messages import Media, Message, Part, ProviderToolRun, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import metadata_for_engine, untranslated_fields
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest, ToolSpec, asks_for_web
from llm.dialects.base import AnswerForms
from llm.engines.engine import Engine
from llm.errors import Unsupported
from llm.wire.json_codec import Json, dumps
from llm.wire.schema_refs import join_pointer

_ONLY_JSON: Final = "Answer with one JSON object and nothing else."
REASONING: Final = "reasoning"  # in ``EngineRequest.dropped``: reasoning that does not go back to the engine


def name_block(block: Part) -> str:
    """Returns the type of a block of another wire, or the kind of a media part, for errors and dropped fields."""
    if isinstance(block, Media):
        return block.kind
    kind = next((kind for opaque in block.metadata if isinstance(kind := opaque.data.get("type"), str)), "")
    if not kind and isinstance(block, ToolCall):
        return block.name
    # Gemini's parts have no type: their first field names them.
    names = (name[:100] for opaque in block.metadata for name in opaque.data if name != "thoughtSignature")
    return kind[:100] or next(names, "unnamed")


def lost_parts(reply: Reply, request: ChatRequest, dialect: str, forms: AnswerForms) -> tuple[str, ...]:
    """Returns the names of what an answer loses in a client's dialect, for ``X-Dropped-Fields``."""
    lost: dict[str, None] = {}
    # A list of sources would break JSON, and no text stands behind a call.
    lists_sources = request.options.format is None and reply.finish.reason != "tool_calls"
    for part in reply.message.parts:
        own = any(opaque.dialect == dialect for opaque in part.metadata)
        match part:
            case Reasoning(reasoning) if forms.only_text and reasoning:
                lost[REASONING] = None
            case Text(citations=cited) if forms.only_text and cited:
                lost["citations"] = None
            case Media() if part.kind not in forms.media or (part.base64 is None and not forms.media_urls):
                lost[part.kind] = None
            case UnknownPart(tool_run=run) if not own and not (forms.provider_runs and run is not None):
                lost[name_block(part)] = None
            case ToolCall(executor="provider", metadata=metadata) if not own and not forms.provider_runs:
                if metadata or not is_web_run(part.name):  # a search of this server is shown by its sources
                    lost[name_block(part)] = None
            case Text(citations=cited) if cited and not own and not forms.citations and not lists_sources:
                if any(opaque.dialect == dialect for one in cited for opaque in one.metadata):
                    continue
                lost["citations"] = None
    return tuple(lost)


def unknown_block(block: UnknownPart, engine: Engine, context: str = "") -> Unsupported:
    """Returns the error for a block of another wire, naming the block's type; ``context`` ends the sentence."""
    message = f"{engine.label} does not support the block {name_block(block)!r}{context}."
    return Unsupported(message, param="messages", engine=engine.name)


def lost_grammars(tools: Iterable[ToolSpec]) -> tuple[str, ...]:
    """Returns the paths of grammars that a function can only tell in words, for ``EngineRequest.dropped``."""
    return tuple(
        f"{join_pointer('tools', tool.name)}/format"
        for tool in tools
        if tool.freeform is not None and tool.freeform.grammar
    )


# Fields that refer to a conversation stored by another provider.
_STORED_REFERENCES: Final = ("previous_response_id", "conversation")
_SEND_HISTORY: Final = ", because it does not store the conversation: send the whole conversation"


def fit_web_tools(request: ChatRequest, dialect: str, engine: Engine, dropped: list[str]) -> ChatRequest:
    """Returns the request with those hosted tools for the web that the engine has, under their usual names.

    The settings that the engine does not take are left out, and so are tools that it does not have: both are appended
    to ``dropped``. Raises ``Unsupported`` for a missing tool that has to be called.
    """
    if not asks_for_web(request):
        return request
    tools: list[ToolSpec] = []
    choice = request.options.tool_choice
    functions, support = any(tool.web is None for tool in request.tools), engine.web
    for tool in request.tools:
        web = tool.web
        as_it_is = support is None or not support.own_form_only
        if web is None or (as_it_is and any(opaque.dialect == dialect for opaque in tool.metadata)):
            tools.append(tool)
            continue
        named = web.named or tool.name
        if support is None or not support.has(web.kind, request.model, dialect, beside_functions=functions):
            if choice == f"tool:{tool.name}" or (choice == "required" and not functions):
                message = f"This engine does not support the hosted tool {tool.name!r}."
                raise Unsupported(message, param="tools", engine=engine.name)
            dropped.append(named)
            continue
        web, lost = web.select(support.settings)
        dropped += [f"{named}/{name}" for name in lost]
        usual = f"web_{web.kind}"
        choice = f"tool:{usual}" if choice == f"tool:{tool.name}" else choice
        tools.append(replace(tool, name=usual, web=web, metadata=()))
    request = replace(request, tools=tuple(tools), options=replace(request.options, tool_choice=choice))
    if tools and support is not None and not support.can_force:
        only_web = all(tool.executor == "provider" for tool in tools)
        if choice in ("tool:web_search", "tool:web_fetch") or (choice == "required" and only_web):
            return unforce_tools(request, engine, dropped)
    return request if tools else replace(request, options=replace(request.options, tool_choice=None))


def lost_fields(request: ChatRequest, dialect: str) -> tuple[str, ...]:
    """Returns names of client fields that ``dialect`` cannot write, for ``EngineRequest.dropped`` (T8: name losses).

    Raises ``Unsupported`` for a loss that would change the answer: a hosted tool, or a top-level field outside of
    ``ChatRequest.droppable_fields`` (such as ``user`` or ``cache_control``).
    """
    for tool in request.tools:
        if tool.executor == "provider" and tool.web is None and not any(o.dialect == dialect for o in tool.metadata):
            raise Unsupported(f"This engine does not support the hosted tool {tool.name!r}.", param="tools")
    lost: list[str] = []
    if request.metadata:
        lost += [name for name in untranslated_fields(request.metadata, dialect) if name not in request.default_fields]
    for name in lost:
        if name not in request.droppable_fields:
            reason = _SEND_HISTORY if name in _STORED_REFERENCES else ""
            raise Unsupported(f"{name!r} cannot be sent to this engine{reason}.", param=name)
    if request.own_settings:
        lost += untranslated_fields(request.own_settings, dialect)
    for tool in request.tools:
        if tool.web is None:
            lost += untranslated_fields(tool.metadata, dialect)
    for message in request.messages:
        if message.metadata:
            # The role "developer" is that of a system message.
            lost += (name for name in untranslated_fields(message.metadata, dialect) if name != "role")
        for part in message.parts:
            if part.metadata and not _has_own_name(part, message):
                lost += untranslated_fields(part.metadata, dialect)
    return tuple(dict.fromkeys(lost)) if lost else ()


def limit_tools(request: ChatRequest, engine: Engine) -> ChatRequest:
    """Returns the request with the allowed tools alone, for APIs without ``allowed_tools``.

    If none of the tools is allowed, they stay, since calls in the history may need their definitions, and the tool
    choice becomes "none". Raises ``Unsupported`` if one of them has to be called.
    """
    options = request.options
    if not options.allowed_tools:
        return request
    tools = tuple(tool for tool in request.tools if tool.name in options.allowed_tools)
    if tools:
        return replace(request, tools=tools, options=replace(options, allowed_tools=()))
    if options.tool_choice == "required":
        message = f"{engine.label} cannot call an allowed tool: none of them is one of the tools."
        raise Unsupported(message, param="tool_choice", engine=engine.name)
    return replace(request, options=replace(options, allowed_tools=(), tool_choice="none"))


def unforce_tools(request: ChatRequest, engine: Engine, dropped: list[str]) -> ChatRequest:
    """Returns the request without a forced tool call, for engines and models that cannot force one.

    A tool that has to be called is the only one that is offered then; ``tool_choice`` is appended to ``dropped``.
    Raises ``Unsupported`` if it is not one of the tools.
    """
    options, tools, choice = request.options, request.tools, request.options.tool_choice
    if choice is None or choice in ("auto", "none"):
        return request
    if choice.startswith("tool:"):
        tools = tuple(tool for tool in tools if tool.name == choice[5:])
    if not tools:
        message = f"{engine.label} cannot call the demanded tool, which is not one of the tools."
        raise Unsupported(message, param="tool_choice", engine=engine.name)
    dropped.append("tool_choice")
    return replace(request, tools=tools, options=replace(options, tool_choice=None))


def fit_tools(request: ChatRequest, engine: Engine, dropped: list[str]) -> ChatRequest:
    """Returns the request with tools and a tool choice that the engine's record accepts."""
    quirks = engine.quirks
    if not quirks.accepts_allowed_tools:
        request = limit_tools(request, engine)
    if not quirks.accepts_forced_tools:
        request = unforce_tools(request, engine, dropped)
    if request.options.tool_choice == "none" and not quirks.accepts_tool_choice_none:
        return replace(request, tools=(), options=replace(request.options, tool_choice=None))
    return request


def ask_for_json(request: ChatRequest, dropped: list[str]) -> ChatRequest:
    """Returns the request without the format "any JSON object", for engines that enforce only schemas.

    Unless the messages ask for JSON, as OpenAI demands it of such requests, a system message asks for it. ``format`` is
    appended to ``dropped``, since nothing enforces it.
    """
    wanted = request.options.format
    if wanted is None or wanted.schema is not None:
        return request
    dropped.append("format")
    messages = request.messages
    texts = (part.text for message in messages for part in message.parts if isinstance(part, Text))
    if not any("json" in text.lower() for text in texts):
        place = next((n for n, message in enumerate(messages) if message.role != "system"), len(messages))
        messages = (*messages[:place], Message("system", (Text(_ONLY_JSON),)), *messages[place:])
    return replace(request, messages=messages, options=replace(request.options, format=None))


def _has_own_name(part: Part, message: Message) -> bool:
    """True for a part that is named as a whole where it is lost: reasoning, a block of another wire, a picture."""
    if isinstance(part, Media):
        return message.role == "assistant"
    return isinstance(part, Reasoning | UnknownPart) or (isinstance(part, ToolCall) and part.executor == "provider")


_EARLIER: Final = "messages before compaction"


def adapt_history(request: ChatRequest, dialect: str, engine: Engine, dropped: list[str]) -> ChatRequest:
    """Returns the request with such parts rewritten; appends the names of what is left out to ``dropped``.

    Raises ``Unsupported`` for a block that the answer depends on.
    """
    if _is_text(request.messages):
        return request
    history = _History(dialect, engine, dropped)
    request = history.write_as_text(request)
    if not any(history.is_unknown(part) for message in request.messages for part in message.parts):
        return request
    messages = history.replace_summarized(request.messages)
    return replace(request, messages=tuple(one for message in messages for one in history.adapt(message)))


def _is_text(messages: Sequence[Message]) -> bool:
    """True if all parts are texts, as in most conversations."""
    for message in messages:
        for part in message.parts:
            if type(part) is not Text:
                return False
    return True


def _has_text(part: Part) -> bool:
    if isinstance(part, ToolResult):
        return any(isinstance(one, UnknownPart) and one.text for one in part.content)
    return isinstance(part, UnknownPart) and bool(part.text)


class _History:
    def __init__(self, dialect: str, engine: Engine, dropped: list[str]) -> None:
        self._dialect = dialect
        self._engine = engine
        self._dropped = dropped

    def is_unknown(self, part: Part) -> bool:
        """True if the part has a form of its own that the engine does not know."""
        if isinstance(part, UnknownPart) or (isinstance(part, ToolCall) and part.executor == "provider"):
            return not metadata_for_engine(part.metadata, self._dialect, self._engine.issuer)
        return False

    def write_as_text(self, request: ChatRequest) -> ChatRequest:
        """Puts its text in the place of each block that has one, in messages and in results of tools."""
        if not any(_has_text(part) for message in request.messages for part in message.parts):
            return request
        messages = (
            replace(message, parts=tuple(map(self._write_part_as_text, message.parts))) for message in request.messages
        )
        return replace(request, messages=tuple(messages))

    def _write_part_as_text(self, part: Part) -> Part:
        if isinstance(part, ToolResult):
            content = tuple(self._write_block_as_text(one) for one in part.content)
            return replace(part, content=content)
        return self._write_block_as_text(part) if isinstance(part, UnknownPart) else part

    def _write_block_as_text(self, block: Text | Media | UnknownPart) -> Text | Media | UnknownPart:
        if not isinstance(block, UnknownPart) or not block.text or not self.is_unknown(block):
            return block
        self._dropped.append(name_block(block))
        return Text(block.text)

    def replace_summarized(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Puts the last summary in the place of all that stands before it, but for system messages."""
        for number in range(len(messages) - 1, -1, -1):
            parts = messages[number].parts
            for place in range(len(parts) - 1, -1, -1):
                part = parts[place]
                if isinstance(part, UnknownPart) and part.summary and self.is_unknown(part):
                    system = [message for message in messages[:number] if message.role == "system"]
                    if len(system) < number or place:
                        self._dropped.append(_EARLIER)
                    later = [replace(messages[number], parts=parts[place + 1 :]), *messages[number + 1 :]]
                    return [*system, *_put_summary(part.summary, later)]
        return messages

    def adapt(self, message: Message) -> Iterator[Message]:
        """Yields the messages in place of one; none if nothing of it is left."""
        if message.role != "assistant" or not any(map(self.is_unknown, message.parts)):
            if message.parts or message.role == "assistant":
                yield message
            return
        runs = {run.id: run for part in message.parts if (run := _get_run(part)) is not None}
        parts: list[Part] = []
        results: list[ToolResult] = []
        noted: set[str] = set()  # ids of searches and fetched pages that have become a text
        for part in message.parts:
            if not self.is_unknown(part):
                if results and not isinstance(part, ToolCall | ToolResult):
                    yield replace(message, parts=tuple(parts))
                    yield Message("user", tuple(results))
                    parts, results = [], []
                parts.append(part)
            elif (note := self._describe_web_run(part, runs, message, noted)) is not None:
                lead = "\n\n" if parts and isinstance(parts[-1], Text) else ""
                parts += (Text(f"{lead}{note}\n\n"),) if note else ()
            elif (call := self._find_call(part, runs)) is not None:
                run = runs[call.id]
                parts.append(call)
                results.append(
                    ToolResult(call.id, (Text(_write_result(run.result)),), run.state == "error", name=call.name)
                )
            elif not (isinstance(part, UnknownPart) and _is_result(part, parts)):
                self._drop(part)
        if parts:
            yield replace(message, parts=tuple(parts))
        if results:
            yield Message("user", tuple(results))

    def _describe_web_run(
        self, part: Part, runs: Mapping[str, ProviderToolRun], message: Message, noted: set[str]
    ) -> str | None:
        """Returns the text in place of a search or a fetched page; "" for the part with its result, None for others."""
        if isinstance(part, UnknownPart) and part.tool_run is not None and part.tool_run.id in noted:
            return ""
        if not isinstance(part, ToolCall) or not is_web_run(part.name):
            return None
        run = runs.get(part.id)
        cited = (one for other in message.parts if isinstance(other, Text) for one in other.citations)
        note = describe_web_run(part.arguments, run.result if run else None, () if noted else cited)
        if note:
            noted.add(part.id)
        return note or None

    def _find_call(self, part: Part, runs: dict[str, ProviderToolRun]) -> ToolCall | None:
        """Returns a call that the provider ran as one of the client, if its result is known."""
        run = runs.get(part.id) if isinstance(part, ToolCall) else _get_run(part)
        if run is None or run.result is None:
            return None
        if isinstance(part, ToolCall):
            return ToolCall(part.id, part.name, part.arguments)
        return ToolCall(run.id, run.name, run.arguments or "{}") if run.name else None

    def _drop(self, part: Part) -> None:
        if isinstance(part, UnknownPart) and part.required:
            raise unknown_block(part, self._engine)
        self._dropped.append(name_block(part))


def _get_run(part: Part) -> ProviderToolRun | None:
    return part.tool_run if isinstance(part, ToolCall | UnknownPart) else None


def _is_result(part: UnknownPart, calls: Iterable[Part]) -> bool:
    """True if the result of one of these calls is in the part."""
    run = part.tool_run
    return run is not None and any(isinstance(call, ToolCall) and call.id == run.id for call in calls)


def _put_summary(summary: str, later: Sequence[Message]) -> Iterable[Message]:
    """Puts a summary in front of the messages after it, as a part of the next one if that is the user's."""
    rest = [message for message in later if message.parts]
    if rest and rest[0].role == "user" and not any(isinstance(part, ToolResult) for part in rest[0].parts):
        return [replace(rest[0], parts=(Text(summary), *rest[0].parts)), *rest[1:]]
    return [Message("user", (Text(summary),)), *rest]


def _write_result(result: Json) -> str:
    """Writes the result of a tool as text: its texts, where it is made of them, else JSON."""
    if isinstance(result, str):
        return result
    blocks = result if isinstance(result, list) else [result]
    texts = [
        text
        for block in blocks
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(text := block.get("text"), str)
    ]
    return "\n\n".join(texts) if len(texts) == len(blocks) else dumps(result)
