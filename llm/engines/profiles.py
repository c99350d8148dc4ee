"""Profiles: the generation options that models of one family accept, for families that differ from their engine.

The first profile with a glob that matches the model id counts. Options for a model without a profile are sent as they
are, and the engine decides (T8). Sources: the documentation of each engine (``Engine.docs``); where recorded answers
differ from it, the recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from llm.engines.globs import fits, remembered
from llm.wire.json_codec import Json

# How reasoning is requested: an effort, or fields of Chat Completions. "": no field is needed.
Said: TypeAlias = str | Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How a request turns the reasoning of a model on or off, and how much."""

    on: Said | None = None  # to reason, amount not specified; None: no field is known for it
    off: Said | None = "none"  # not to reason; None: it always reasons
    efforts: tuple[str, ...] | None = None  # accepted ones beside ``off``; None: not checked, the engine decides
    by_default: bool | None = None  # whether it reasons without a field; None: unknown
    within: str = ""  # Chat Completions object for effort and budget; "": reasoning_effort, without an object
    budget: bool = False  # that object accepts a number of tokens too
    with_effort: Mapping[str, Json] = field(default_factory=dict)  # sent together with an effort


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # compared by identity, since results are cached by it
class Family:
    """Models that accept the same options. Names of options are fields of ``Options``."""

    globs: tuple[str, ...] = ("*",)
    thinking: Thinking | None = Thinking()  # None: does not reason
    refuses: frozenset[str] = frozenset()  # the engine answers them with 400
    refuses_thinking: frozenset[str] = frozenset()  # the same, only while it reasons
    ignores_thinking: frozenset[str] = frozenset()  # without effect while it reasons
    cites: bool = False  # cites its sources without the option
    caching: Mapping[str, Json] = field(
        default_factory=dict
    )  # fields that turn on prompt caching, if it is not automatic
    sends: Mapping[str, Json] = field(default_factory=dict)  # fields sent in every request, unless the client sets them


ANY: Final = Family()  # for models without a profile of their own


@remembered
def family_of(model: str, families: tuple[Family, ...]) -> Family:
    """Returns the first profile with a glob that matches the model id, or ``DEFAULT_PROFILE``."""
    for profile in families:
        if fits(model, profile.globs):
            return profile
    return ANY


_ALWAYS_REASONS: Final = Thinking(on="", off=None, by_default=True)
_THREE_EFFORTS: Final = ("low", "medium", "high")

_SAMPLING: Final = frozenset(
    {"temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "stop"}
)

OPENAI: Final = (
    Family(globs=("*-search-*",), cites=True),
    Family(globs=("*-chat*", "chatgpt*")),  # some reason and some do not; the id does not show which
    Family(
        globs=("o[134]", "o[134]-*", "ft:o[134]-*"),
        thinking=_ALWAYS_REASONS,
        refuses=frozenset({"verbosity"}),
        refuses_thinking=_SAMPLING,
    ),
    Family(
        globs=("gpt-5", "gpt-5-*", "gpt-[5-9]*-pro*", "gpt-6-astra*", "gpt-6.1-sol*"),
        thinking=_ALWAYS_REASONS,
        refuses_thinking=_SAMPLING,
    ),
    Family(
        globs=("*codex*", "gpt-5.[5-9]*", "gpt-[6-9]*"),
        thinking=Thinking(on="", by_default=True),
        refuses_thinking=_SAMPLING,
    ),
    Family(  # recorded: without the field the effort is "none", and log probabilities are returned
        globs=("gpt-5.[1-4]", "gpt-5.[1-4]-*"),
        thinking=Thinking(on="medium", by_default=False),
        refuses_thinking=_SAMPLING,
    ),
    Family(globs=("gpt-[34]*", "ft:gpt-[34]*"), thinking=None, refuses=frozenset({"verbosity"})),
)

# Owners choose the name of a deployment; most names contain the model id.
AZURE: Final = tuple(
    replace(profile, globs=tuple(f"*{glob}" if glob.startswith("gpt") else glob for glob in profile.globs))
    for profile in OPENAI
)

_XAI_UNSUPPORTED: Final = frozenset({"stop", "presence_penalty", "frequency_penalty"})
XAI: Final = (
    Family(
        globs=("*non-reasoning*", "grok-2*", "grok-3", "grok-3-latest", "grok-3-beta", "grok-3-fast*"), thinking=None
    ),
    Family(
        globs=("grok-3-mini*",),
        thinking=replace(_ALWAYS_REASONS, efforts=("low", "high")),
        refuses_thinking=_XAI_UNSUPPORTED,
    ),
    Family(
        globs=("grok-4", "grok-4-0709", "grok-4.20-reasoning*", "grok-4.20-*-reasoning*"),
        thinking=replace(_ALWAYS_REASONS, efforts=()),
        refuses_thinking=_XAI_UNSUPPORTED,
    ),
    Family(
        globs=("grok-4.5*",),
        thinking=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS),
        refuses_thinking=_XAI_UNSUPPORTED,
    ),
    Family(
        globs=("grok-4.[67]*",),
        thinking=Thinking(on="", efforts=(*_THREE_EFFORTS, "xhigh"), by_default=True),
        refuses_thinking=_XAI_UNSUPPORTED,
    ),
    Family(
        globs=("grok-4.3*",),
        thinking=Thinking(on="", efforts=("minimal", *_THREE_EFFORTS), by_default=True),
        refuses_thinking=_XAI_UNSUPPORTED,
    ),
    Family(
        globs=("grok-code*", "grok-[4-9]*"),
        thinking=Thinking(on="", by_default=True),
        refuses_thinking=_XAI_UNSUPPORTED,
    ),
)

GROQ: Final = (
    Family(globs=("openai/gpt-oss*",), thinking=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS)),
    Family(  # reasoning can be turned off; it comes inside the text unless reasoning_format is sent
        globs=("qwen/qwen3*",),
        thinking=Thinking(on={"reasoning_effort": "default"}, efforts=(), by_default=True),
        sends={"reasoning_format": "parsed"},
    ),
    Family(globs=("llama*", "meta-llama/*", "gemma*", "moonshotai/kimi-k2-instruct*"), thinking=None),
)

CEREBRAS: Final = (
    Family(globs=("gpt-oss*",), thinking=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS)),
    Family(globs=("zai-glm*",), thinking=Thinking(on="", by_default=True)),
    Family(globs=("*-instruct*", "*-coder*", "llama*"), thinking=None),
)

# https://api-docs.deepseek.com/guides/thinking_mode: on by default; sampling options then have no effect and no error.
_ENABLED: Final[Mapping[str, Json]] = {"thinking": {"type": "enabled"}}
_DEEPSEEK: Final = Thinking(on=_ENABLED, off={"thinking": {"type": "disabled"}}, by_default=True, with_effort=_ENABLED)
_DEEPSEEK_IGNORES: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
DEEPSEEK: Final = (
    Family(  # an older id, which does not reason by default
        globs=("deepseek-chat*",),
        thinking=replace(_DEEPSEEK, by_default=False),
        ignores_thinking=_DEEPSEEK_IGNORES,
    ),
    Family(thinking=_DEEPSEEK, ignores_thinking=_DEEPSEEK_IGNORES),
)

# https://openrouter.ai/docs/use-cases/reasoning-tokens: one form for all models, an effort or a budget.
_OPENROUTER: Final = Family(
    thinking=Thinking(
        on={"reasoning": {"enabled": True}}, off={"reasoning": {"enabled": False}}, within="reasoning", budget=True
    )
)
# Prompts of other models are cached automatically. A mark at the top level applies to the end of the conversation.
_CACHE_CONTROL: Final[Mapping[str, Json]] = {"cache_control": {"type": "ephemeral"}}
OPENROUTER: Final = (
    replace(_OPENROUTER, globs=("anthropic/*:online",), cites=True, caching=_CACHE_CONTROL),
    replace(_OPENROUTER, globs=("anthropic/*",), caching=_CACHE_CONTROL),
    replace(_OPENROUTER, globs=("*:online", "perplexity/*", "*-search-preview*"), cites=True),
    _OPENROUTER,
)

# https://docs.together.ai/docs/inference/chat/reasoning: some always reason, some have a switch, some an effort.
TOGETHER: Final = (
    Family(globs=("openai/gpt-oss*",), thinking=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS)),
    Family(globs=("*DeepSeek-R1*", "MiniMaxAI/*", "*-Thinking*"), thinking=_ALWAYS_REASONS),
    Family(globs=("meta-llama/*",), thinking=None),
    Family(thinking=Thinking(on={"reasoning": {"enabled": True}}, off={"reasoning": {"enabled": False}})),
)

META: Final = (
    Family(globs=("muse*",), thinking=replace(_ALWAYS_REASONS, efforts=("minimal", *_THREE_EFFORTS, "xhigh"))),
)

MISTRAL: Final = (
    Family(
        globs=("*magistral*",),
        thinking=replace(_ALWAYS_REASONS, on={"prompt_mode": "reasoning"}, efforts=()),
    ),
    Family(
        globs=(
            "mistral-small-latest", "mistral-small-2603*", "mistral-medium-3", "mistral-medium-3-5*",
            "mistral-medium-3.5*",
        ),
        thinking=Thinking(on="high", efforts=("high",), by_default=False),
    ),
)  # fmt: skip
