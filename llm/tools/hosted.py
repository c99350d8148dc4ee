"""The server's own search and page reader in place of a hosted tool for the web that the engine does not have.

The model gets them as functions, the server runs them between its rounds (``llm.gateway.tool_loop``), and the client
sees what a provider would have shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from llm.chat.events import (
    Cited,
    Event,
    Finished,
    PartEnded,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    WholePart,
)
from llm.chat.history import read_sources
from llm.chat.messages import Citation, Media, ProviderToolRun, Text, ToolResult
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, ToolSpec, WebKind, WebTool, asks_for_web
from llm.engines.api_choice import CHAT, choose_api
from llm.engines.engine import Target
from llm.tools.base import Tool, ToolFailed, Tools, ToolState
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dict, as_dicts, as_text

_OWN_TOOLS: Final[Mapping[WebKind, str]] = {"search": "search_tavily", "fetch": "get_html_as_text"}
_SETTINGS: Final[Mapping[WebKind, frozenset[str]]] = {
    "search": frozenset({"allowed_domains", "blocked_domains", "max_uses"}),
    "fetch": frozenset({"allowed_domains", "blocked_domains", "max_uses"}),
}


class HostedTool:
    """One of the server's tools under the name of a hosted one, with the settings of one request."""

    def __init__(self, tool: Tool, name: str, web: WebTool) -> None:
        self.spec = replace(tool.spec, name=name)
        self.paid = tool.paid
        self._tool = tool
        self._web = web
        self._uses = 0

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """Returns the ``status`` text for people."""
        return self._tool.describe(state, arguments)

    async def __call__(self, arguments: Mapping[str, Json]) -> Json | tuple[Text | Media, ...]:
        """Returns the result of the tool. Raises ``ToolFailed``, also beyond ``max_uses`` and for other domains."""
        web = self._web
        self._uses += 1
        if web.max_uses is not None and self._uses > web.max_uses:
            raise ToolFailed(f"{self.spec.name} may be used {web.max_uses} times in one answer.")
        if web.kind == "search":
            domains: dict[str, Json] = {}
            if web.allowed_domains:
                domains["include_domains"] = [*web.allowed_domains]
            elif web.blocked_domains:
                domains["exclude_domains"] = [*web.blocked_domains]
            return await self._tool({**arguments, **domains})
        if not _may_fetch(as_text(arguments.get("url")), web):
            raise ToolFailed("Pages of this domain may not be fetched.")
        return await self._tool(arguments)


def _may_fetch(url: str, web: WebTool) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if any(_is_below(host, domain) for domain in web.blocked_domains):
        return False
    return not web.allowed_domains or any(_is_below(host, domain) for domain in web.allowed_domains)


def _is_below(host: str, domain: str) -> bool:
    domain = domain.lower().partition("/")[0].removeprefix("*.")
    return host == domain or host.endswith(f".{domain}")


def pick_web_tools(
    request: ChatRequest, target: Target, tools: Tools, *, trusted: bool
) -> tuple[ChatRequest, dict[str, HostedTool]]:
    """Returns the request with functions in place of hosted tools that the engine does not have, and these tools.

    ``trusted``: the caller may use tools that cost the server's owner something.
    """
    if not tools or not asks_for_web(request):
        return request, {}
    chosen = choose_api(request, target)
    others = {tool.name for tool in request.tools if tool.web is None}
    specs: list[ToolSpec] = []
    picked: dict[str, HostedTool] = {}
    lost: dict[str, Json] = {}
    choice = request.options.tool_choice
    for tool in request.tools:
        own = _find_own_tool(tool, chosen, bool(others), tools, trusted)
        if own is None or tool.web is None or (name := f"web_{tool.web.kind}") in others or name in picked:
            specs.append(tool)
            continue
        web, names = tool.web.select(_SETTINGS[tool.web.kind])
        lost |= {f"{tool.web.named or name}/{one}": True for one in names}
        picked[name] = HostedTool(own, name, web)
        specs.append(picked[name].spec)
        choice = f"tool:{name}" if choice == f"tool:{tool.name}" else choice
    if not picked:
        return request, {}
    named = (*request.own_settings, ProviderMetadata("", None, lost))
    options = replace(request.options, tool_choice=choice)
    return replace(request, tools=tuple(specs), options=options, own_settings=named), picked


def _find_own_tool(tool: ToolSpec, target: Target, functions: bool, tools: Tools, trusted: bool) -> Tool | None:
    """Returns the server's tool in place of a hosted one; None if the engine has it, or as far as is known."""
    web, engine = tool.web, target.engine
    if web is None:
        return None
    if engine.web is None:
        has_it = engine.dialect != CHAT and any(opaque.dialect == engine.dialect for opaque in tool.metadata)
    else:
        has_it = engine.web.has(web.kind, target.model, engine.dialect, beside_functions=functions)
    own = tools.get(_OWN_TOOLS[web.kind])
    return own if not has_it and own is not None and (trusted or not own.paid) else None


class HostedRuns:
    """The stage that shows runs of the server's tools as those of a provider.

    ``cites``: the client's dialect has no form for a search, so that what was found is cited in the last text.
    """

    def __init__(self, *, cites: bool) -> None:
        self._cites = cites
        self._names: dict[int, str] = {}  # of open calls, by their index
        self._arguments: dict[int, str] = {}
        self._indexes: dict[str, int] = {}  # of open calls, by id
        self._sources: dict[str, Citation] = {}
        self._text: int | None = None  # index of the last text
        self._held: PartEnded | None = None  # of the last text, which may get citations

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events with provider-run calls."""
        return [shown for event in events for shown in self._show(event)]

    def _show(self, event: Event) -> Iterator[Event]:
        if isinstance(event, Finished):
            yield from self._end()
        elif self._held is not None and hasattr(event, "index"):
            yield self._held
            self._held = None
        match event:
            case ToolCallStarted(index, id, name, "server"):
                self._names[index], self._indexes[id], self._arguments[index] = name, index, ""
                yield ToolCallStarted(index, id, name, "provider")
            case ToolCallDelta(index, arguments) if index in self._names:
                self._arguments[index] += arguments
                yield event
            case PartEnded(index) if index in self._names:
                pass  # it ends with its result
            case PartEnded(index) if index == self._text:
                self._held = event
            case WholePart(_, ToolResult(call_id) as result) if call_id in self._indexes:
                yield self._end_call(call_id, result)
            case ToolProgress():
                pass
            case TextDelta(index):
                self._text = index
                yield event
            case _:
                yield event

    def _end_call(self, id: str, result: ToolResult) -> PartEnded:
        index = self._indexes.pop(id)
        name, arguments = self._names.pop(index), self._arguments.pop(index)
        found: Json = {"error_code": "unavailable"} if result.is_error else _read_result(name, arguments, result)
        if not result.is_error:
            self._sources |= {one.url: one for one in read_sources(found) if one.url}
        run = ProviderToolRun(
            id=id, name=name, arguments=arguments, state="error" if result.is_error else "completed", result=found
        )
        return PartEnded(index, (), run)

    def _end(self) -> Iterator[Event]:
        """Ends what is still open."""
        for index in self._names:
            yield PartEnded(index)
        self._names.clear()
        if self._held is not None:
            if self._cites:
                yield from (Cited(self._held.index, source) for source in self._sources.values())
            yield self._held
            self._held = None


def _read_result(name: str, arguments: str, result: ToolResult) -> Json:
    """Returns what a tool has found, as other providers tell it: a list of pages, or one with its text."""
    text = "".join(part.text for part in result.content if isinstance(part, Text))
    try:
        value: Json = loads(text)
    except ValueError:
        value = None
    if name == "web_fetch":
        try:
            url = as_text(as_dict(loads(arguments or "{}")).get("url"))
        except ValueError:
            url = ""
        return {"url": url, "text": as_text(as_dict(value).get("content")) or text}
    pages = as_dicts(as_dict(value).get("results"))
    return [{"url": p.get("url"), "title": p.get("title"), "text": p.get("content")} for p in pages if p.get("url")]
