"""The neutral model's request: messages, tools and options."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from llm.chat.freeform import Freeform
from llm.chat.messages import Executor, Message
from llm.chat.provider_metadata import Metadata
from llm.wire.json_codec import Json

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


WebKind: TypeAlias = Literal["search", "fetch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebTool:
    """A hosted tool that searches the web or fetches pages, and its settings, whatever the wire."""

    kind: WebKind
    named: str = ""  # the client's name for it: of a field, or of the tool
    allowed_domains: tuple[str, ...] = ()  # only these; (): all
    blocked_domains: tuple[str, ...] = ()
    user_location: Mapping[str, Json] = field(default_factory=dict)  # "city", "region", "country", "timezone"
    max_uses: int | None = None  # in one answer
    search_context_size: str | None = None  # "low" | "medium" | "high"
    others: tuple[str, ...] = ()  # names of settings that only the client's wire has

    def select(self, settings: Collection[str]) -> tuple[WebTool, tuple[str, ...]]:
        """Returns the tool with the settings of these names alone, and the names of the others that it has."""
        nothing = WebTool(kind=self.kind)
        lost = [name for name in _WEB_SETTINGS if name not in settings and getattr(self, name)]
        kept: dict[str, Any] = {name: getattr(nothing, name) for name in lost}
        return replace(self, **kept, others=()), (*lost, *self.others)


_WEB_SETTINGS: Final = ("allowed_domains", "blocked_domains", "user_location", "max_uses", "search_context_size")


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)  # JSON Schema
    strict: bool | None = None  # the arguments have to match ``parameters`` exactly
    executor: Executor = "client"  # "provider": a hosted tool, whose definition is in ``metadata``
    metadata: Metadata = ()
    schema_dialect: str | None = field(default=None, compare=False)  # the dialect for which the schema was written
    freeform: Freeform | None = None  # its input is text; ``parameters`` are those of the function in its place
    web: WebTool | None = field(default=None, compare=False)  # what a hosted tool for the web does
    in_namespace: bool = field(default=False, compare=False)  # one of a named group of functions, in the client's wire


_NO_NAMES: Final[frozenset[str]] = frozenset()  # one for all: each open answer holds it


def find_freeform(tools: Iterable[ToolSpec]) -> frozenset[str]:
    """Returns the names of the tools whose input is text."""
    names = [tool.name for tool in tools if tool.freeform is not None] if tools else ()
    return frozenset(names) if names else _NO_NAMES


def asks_for_web(request: ChatRequest) -> bool:
    """True if the client has asked for a hosted tool for the web."""
    return any(tool.web is not None for tool in request.tools) if request.tools else False


def read_location(wire: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the fields of a user's location, which the wires name alike."""
    return {name: wire[name] for name in ("city", "region", "country", "timezone") if isinstance(wire.get(name), str)}


def read_domains(wire: object) -> tuple[str, ...]:
    """Returns a list of domains; nothing for any other value."""
    return tuple(one for one in wire if isinstance(one, str)) if isinstance(wire, list) else ()


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Structured output: the answer has to be JSON."""

    schema: Mapping[str, Json] | None = None  # None: any JSON object
    name: str = "reply"
    strict: bool | None = None
    metadata: Metadata = ()
    schema_dialect: str | None = field(
        default=None, compare=False
    )  # the dialect for which it was written; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Generation options. None: not set, so the engine's default applies."""

    max_tokens: int | None = None  # output tokens, reasoning included
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning: bool | None = None  # on or off, without an amount
    effort: Effort | None = None
    reasoning_tokens: int | None = None  # maximal reasoning tokens, for wires with such a budget
    verbosity: str | None = None
    format: JsonFormat | None = None
    tool_choice: str | None = None  # "auto" | "none" | "required" | "tool:<name>"
    allowed_tools: tuple[str, ...] = ()  # names: only these of the offered tools may be called; (): all of them
    parallel_tools: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    service_tier: str | None = None
    caching: bool | None = None
    citations: bool | None = None
    context_tokens: int | None = None  # size of the context window, for local engines
    responses_api: bool | None = None  # True: OpenAI Responses, False: Chat Completions; None: chosen by the model
    extra: Mapping[str, Json] = field(default_factory=dict)  # fields added to the engine's request as they are


NO_OPTIONS: Final = Options()  # shared by all requests without options, so that ``is`` finds them


_NOT_SOFT: Final[frozenset[str]] = frozenset()


def soften_no_reasoning(options: Options) -> frozenset[str]:
    """Returns the options that ask for no reasoning, as ``ChatRequest.soft_options``.

    Clients of the compatible APIs send them whatever the model is, and get an answer from a model that always reasons.
    """
    if options.effort == "none":
        return frozenset({"effort"})
    return _NOT_SOFT if options.reasoning is not False else frozenset({"reasoning"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One chat request, independent of any wire."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    options: Options = NO_OPTIONS
    stream: bool = False
    show_usage: bool = True  # whether the stream to the client includes usage
    metadata: Metadata = ()  # unknown top-level fields
    own_settings: Metadata = ()  # fields inside of known ones that only the client's dialect has: reported if dropped
    option_names: Mapping[str, str] = field(default_factory=dict)  # options to the names of the client's fields
    # Unknown fields that do not change the answer: dropped and reported where others are refused.
    droppable_fields: frozenset[str] = frozenset()
    # Unknown fields with their default values, which ask for nothing: dropped without a report.
    default_fields: frozenset[str] = frozenset()
    # Names of ``Options`` that are dropped and reported if the model does not support them, where others are refused.
    soft_options: frozenset[str] = frozenset()
    # The text of the only message is to be completed, up to this text; "": continued without a chat's form.
    suffix: str | None = None
