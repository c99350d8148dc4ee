"""The neutral model's request: options, tools and the request itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from llm.chat.messages import Executor, Message
from llm.chat.provider_metadata import Keep
from llm.wire.json_codec import Json

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)  # JSON Schema
    strict: bool | None = None
    executor: Executor = "client"  # "provider": a hosted tool, wholly in ``keep``
    keep: Keep = ()
    wire: str | None = field(default=None, compare=False)  # the dialect whose rules its schema was written by


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Structured output: an answer that is JSON."""

    schema: Mapping[str, Json] | None = None  # None: any JSON object
    name: str = "reply"
    strict: bool | None = None
    keep: Keep = ()
    wire: str | None = field(default=None, compare=False)  # the dialect whose rules it was written by; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Generation options. ``None`` means not asked for; the engine's own default holds."""

    max_tokens: int | None = None  # output tokens, reasoning included
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning: bool | None = None  # on or off, without saying how much
    effort: Effort | None = None
    reasoning_tokens: int | None = None  # a budget, where the wire has one
    verbosity: str | None = None
    format: JsonFormat | None = None
    tool_choice: str | None = None  # "auto" | "none" | "required" | "tool:<name>"
    parallel_tools: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    service_tier: str | None = None
    caching: bool | None = None
    citations: bool | None = None
    context_tokens: int | None = None  # size of the window a local engine should open
    responses_api: bool | None = None  # forces OpenAI's API one way or the other; None: what the model needs
    extra: Mapping[str, Json] = field(
        default_factory=dict
    )  # fields for the engine's own wire, as the caller names them


NO_OPTIONS: Final = Options()  # of every request that asks for none: then there is nothing to be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    options: Options = NO_OPTIONS
    stream: bool = False
    show_usage: bool = True  # a client that streams may not have asked for it
    keep: Keep = ()  # unknown top-level fields
    hints: frozenset[str] = frozenset()  # those of them that do not change the answer: their loss is told, not refused
    wishes: frozenset[str] = frozenset()  # options that are given up, and told, where a model has not got them
