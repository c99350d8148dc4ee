"""Profiles: the generation options that models of one family accept, for families that differ from their engine.

The first profile with a glob that matches the model id counts. Options for a model without a profile are sent as they
are, and the engine decides (T8). Sources: the documentation of each engine (``Engine.docs``); where recorded answers
differ from it, the recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from llm.engines.globs import cached_by_name, matches
from llm.wire.json_codec import Json

# How reasoning is requested: an effort, or fields of Chat Completions. "": no field is needed.
ReasoningValue: TypeAlias = str | Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningSupport:
    """How a request turns the reasoning of a model on or off, and how much."""

    enable_value: ReasoningValue | None = None  # to reason, amount not specified; None: no field is known for it
    disable_value: ReasoningValue | None = "none"  # not to reason; None: it always reasons
    efforts: tuple[str, ...] | None = (
        None  # accepted ones beside ``disable_value``; None: not checked, the engine decides
    )
    enabled_by_default: bool | None = None  # whether it reasons without a field; None: unknown
    parent_field: str = ""  # Chat Completions object for effort and budget; "": reasoning_effort, without an object
    accepts_budget: bool = False  # that object accepts a number of tokens too
    effort_fields: Mapping[str, Json] = field(default_factory=dict)  # sent together with an effort


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # compared by identity, since results are cached by it
class ModelProfile:
    """Models that accept the same options. Names of options are fields of ``Options``."""

    globs: tuple[str, ...] = ("*",)
    reasoning: ReasoningSupport | None = ReasoningSupport()  # None: does not reason
    unsupported_options: frozenset[str] = frozenset()  # the engine answers them with 400
    unsupported_while_reasoning: frozenset[str] = frozenset()  # the same, only while it reasons
    ignored_while_reasoning: frozenset[str] = frozenset()  # without effect while it reasons
    always_cites: bool = False  # cites its sources without the option
    caching_fields: Mapping[str, Json] = field(
        default_factory=dict
    )  # fields that turn on prompt caching, if it is not automatic
    default_fields: Mapping[str, Json] = field(
        default_factory=dict
    )  # fields sent in every request, unless the client sets them


DEFAULT_PROFILE: Final = ModelProfile()  # for models without a profile of their own


@cached_by_name
def find_profile(model: str, families: tuple[ModelProfile, ...]) -> ModelProfile:
    """Returns the first profile with a glob that matches the model id, or ``DEFAULT_PROFILE``."""
    for profile in families:
        if matches(model, profile.globs):
            return profile
    return DEFAULT_PROFILE


_ALWAYS_REASONS: Final = ReasoningSupport(enable_value="", disable_value=None, enabled_by_default=True)
_THREE_EFFORTS: Final = ("low", "medium", "high")
_NONE: Final[frozenset[str]] = frozenset()

_SAMPLING: Final = frozenset(
    {"temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "stop"}
)

# Efforts of OpenAI's models: https://developers.openai.com/api/docs/guides/reasoning, each model's page, and the API's
# error ("Supported values are: ..."). Models without a public page (cyber, rosalind) have those of their version.
_UP_TO_XHIGH: Final = (*_THREE_EFFORTS, "xhigh")
_UP_TO_MAX: Final = (*_UP_TO_XHIGH, "max")
_OPENAI_ALWAYS: Final = ModelProfile(reasoning=_ALWAYS_REASONS, unsupported_while_reasoning=_SAMPLING)


def _always_reasons(*globs: str, efforts: tuple[str, ...] | None, unsupported: frozenset[str] = _NONE) -> ModelProfile:
    """Models of OpenAI that cannot be told not to reason."""
    return replace(
        _OPENAI_ALWAYS,
        globs=globs,
        reasoning=replace(_ALWAYS_REASONS, efforts=efforts),
        unsupported_options=unsupported,
    )


_NO_VERBOSITY: Final = frozenset({"verbosity"})
OPENAI: Final = (
    ModelProfile(globs=("gpt-4*-search-*",), reasoning=None, always_cites=True, unsupported_options=_NO_VERBOSITY),
    ModelProfile(globs=("*-search-*",), always_cites=True),
    ModelProfile(
        globs=("gpt-[34]*", "ft:gpt-[34]*", "chatgpt-4*", "gpt-audio*"),
        reasoning=None,
        unsupported_options=_NO_VERBOSITY,
    ),
    ModelProfile(globs=("gpt-5-chat*",), reasoning=None),
    _always_reasons("gpt-5.[1-3]-chat*", efforts=("medium",)),
    ModelProfile(globs=("*-chat*", "chatgpt*")),  # some reason and some do not; the id does not show which
    _always_reasons("o1-mini*", "o1-preview*", efforts=(), unsupported=_NO_VERBOSITY),
    _always_reasons("o[134]*-deep-research*", efforts=("medium",), unsupported=_NO_VERBOSITY),
    _always_reasons(
        "o[134]", "o[134]-*", "ft:o[134]-*", "codex-mini*", efforts=_THREE_EFFORTS, unsupported=_NO_VERBOSITY
    ),
    _always_reasons("gpt-5-pro*", efforts=("high",)),
    _always_reasons("gpt-5.[2-9]*-pro*", efforts=("medium", "high", "xhigh")),
    _always_reasons("gpt-[6-9]*-pro*", efforts=None),
    _always_reasons("gpt-5-codex*", "gpt-5.1-codex", "gpt-5.1-codex-mini*", efforts=_THREE_EFFORTS),
    _always_reasons("gpt-5.1-codex-max*", "gpt-5.[2-9]*codex*", efforts=_UP_TO_XHIGH),
    _always_reasons("gpt-5", "gpt-5-*", efforts=("minimal", *_THREE_EFFORTS)),
    _always_reasons("gpt-6-astra*", "gpt-6.1-sol*", "gpt-6.2*", efforts=_UP_TO_MAX),
    ModelProfile(
        globs=("*codex*", "gpt-5.[6-9]*", "gpt-[6-9]*"),
        reasoning=ReasoningSupport(enable_value="", efforts=_UP_TO_MAX, enabled_by_default=True),
        unsupported_while_reasoning=_SAMPLING,
    ),
    ModelProfile(
        globs=("gpt-5.5*",),
        reasoning=ReasoningSupport(enable_value="", efforts=_UP_TO_XHIGH, enabled_by_default=True),
        unsupported_while_reasoning=_SAMPLING,
    ),
    # recorded: without the field the effort is "none", and log probabilities are returned
    ModelProfile(
        globs=("gpt-5.1", "gpt-5.1-*"),
        reasoning=ReasoningSupport(enable_value="medium", efforts=_THREE_EFFORTS, enabled_by_default=False),
        unsupported_while_reasoning=_SAMPLING,
    ),
    ModelProfile(
        globs=("gpt-5.[2-4]", "gpt-5.[2-4]-*"),
        reasoning=ReasoningSupport(enable_value="medium", efforts=_UP_TO_XHIGH, enabled_by_default=False),
        unsupported_while_reasoning=_SAMPLING,
    ),
)

# "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
ONLY_MAX_COMPLETION_TOKENS: Final = ("o[1-9]*", "ft:o[1-9]*", "*gpt-[5-9]*", "*codex*", "chatgpt-[5-9]*")

# Owners choose the name of a deployment; most names contain the model id.
AZURE: Final = tuple(
    replace(profile, globs=tuple(f"*{glob}" if glob.startswith("gpt") else glob for glob in profile.globs))
    for profile in OPENAI
)

_XAI_UNSUPPORTED: Final = frozenset({"stop", "presence_penalty", "frequency_penalty"})
XAI: Final = (
    ModelProfile(
        globs=("*non-reasoning*", "grok-2*", "grok-3", "grok-3-latest", "grok-3-beta", "grok-3-fast*"), reasoning=None
    ),
    ModelProfile(
        globs=("grok-3-mini*",),
        reasoning=replace(_ALWAYS_REASONS, efforts=("low", "high")),
        unsupported_while_reasoning=_XAI_UNSUPPORTED,
    ),
    ModelProfile(
        globs=("grok-4", "grok-4-0709", "grok-4.20-reasoning*", "grok-4.20-*-reasoning*"),
        reasoning=replace(_ALWAYS_REASONS, efforts=()),
        unsupported_while_reasoning=_XAI_UNSUPPORTED,
    ),
    ModelProfile(
        globs=("grok-4.5*",),
        reasoning=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS),
        unsupported_while_reasoning=_XAI_UNSUPPORTED,
    ),
    ModelProfile(
        globs=("grok-4.[67]*",),
        reasoning=ReasoningSupport(enable_value="", efforts=_UP_TO_XHIGH, enabled_by_default=True),
        unsupported_while_reasoning=_XAI_UNSUPPORTED,
    ),
    ModelProfile(
        globs=("grok-4.3*",),
        reasoning=ReasoningSupport(enable_value="", efforts=("minimal", *_THREE_EFFORTS), enabled_by_default=True),
        unsupported_while_reasoning=_XAI_UNSUPPORTED,
    ),
    ModelProfile(
        globs=("grok-code*", "grok-[4-9]*"),
        reasoning=ReasoningSupport(enable_value="", enabled_by_default=True),
        unsupported_while_reasoning=_XAI_UNSUPPORTED,
    ),
)

GROQ: Final = (
    ModelProfile(globs=("openai/gpt-oss*",), reasoning=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS)),
    ModelProfile(  # reasoning can be turned off; it comes inside the text unless reasoning_format is sent
        globs=("qwen/qwen3*",),
        reasoning=ReasoningSupport(enable_value={"reasoning_effort": "default"}, efforts=(), enabled_by_default=True),
        default_fields={"reasoning_format": "parsed"},
    ),
    ModelProfile(globs=("llama*", "meta-llama/*", "gemma*", "moonshotai/kimi-k2-instruct*"), reasoning=None),
)

CEREBRAS: Final = (
    ModelProfile(globs=("gpt-oss*",), reasoning=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS)),
    ModelProfile(globs=("zai-glm*",), reasoning=ReasoningSupport(enable_value="", enabled_by_default=True)),
    ModelProfile(globs=("*-instruct*", "*-coder*", "llama*"), reasoning=None),
)

# https://api-docs.deepseek.com/guides/thinking_mode: on by default; sampling options then have no effect and no error.
_ENABLED: Final[Mapping[str, Json]] = {"thinking": {"type": "enabled"}}
_DEEPSEEK: Final = ReasoningSupport(
    enable_value=_ENABLED,
    disable_value={"thinking": {"type": "disabled"}},
    enabled_by_default=True,
    effort_fields=_ENABLED,
)
_DEEPSEEK_IGNORES: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
DEEPSEEK: Final = (
    ModelProfile(  # an older id, which does not reason by default
        globs=("deepseek-chat*",),
        reasoning=replace(_DEEPSEEK, enabled_by_default=False),
        ignored_while_reasoning=_DEEPSEEK_IGNORES,
    ),
    ModelProfile(reasoning=_DEEPSEEK, ignored_while_reasoning=_DEEPSEEK_IGNORES),
)

# https://openrouter.ai/docs/use-cases/reasoning-tokens: one form for all models, an effort or a budget.
_OPENROUTER: Final = ModelProfile(
    reasoning=ReasoningSupport(
        enable_value={"reasoning": {"enabled": True}},
        disable_value={"reasoning": {"enabled": False}},
        parent_field="reasoning",
        accepts_budget=True,
    )
)
# Prompts of other models are cached automatically. A mark at the top level applies to the end of the conversation.
_CACHE_CONTROL: Final[Mapping[str, Json]] = {"cache_control": {"type": "ephemeral"}}
OPENROUTER: Final = (
    replace(_OPENROUTER, globs=("anthropic/*:online",), always_cites=True, caching_fields=_CACHE_CONTROL),
    replace(_OPENROUTER, globs=("anthropic/*",), caching_fields=_CACHE_CONTROL),
    replace(_OPENROUTER, globs=("*:online", "perplexity/*", "*-search-preview*"), always_cites=True),
    _OPENROUTER,
)

# https://docs.together.ai/docs/inference/chat/reasoning: some always reason, some have a switch, some an effort.
TOGETHER: Final = (
    ModelProfile(globs=("openai/gpt-oss*",), reasoning=replace(_ALWAYS_REASONS, efforts=_THREE_EFFORTS)),
    ModelProfile(globs=("*DeepSeek-R1*", "MiniMaxAI/*", "*-Thinking*"), reasoning=_ALWAYS_REASONS),
    ModelProfile(globs=("meta-llama/*",), reasoning=None),
    ModelProfile(
        reasoning=ReasoningSupport(
            enable_value={"reasoning": {"enabled": True}}, disable_value={"reasoning": {"enabled": False}}
        )
    ),
)

META: Final = (
    ModelProfile(globs=("muse*",), reasoning=replace(_ALWAYS_REASONS, efforts=("minimal", *_THREE_EFFORTS, "xhigh"))),
)

# https://docs.mistral.ai/inference/conversations/reasoning: these reason only if ``reasoning_effort`` is sent.
MISTRAL: Final = (
    ModelProfile(
        globs=("*magistral*",),
        reasoning=replace(_ALWAYS_REASONS, enable_value={"prompt_mode": "reasoning"}, efforts=()),
    ),
    ModelProfile(
        globs=(
            "mistral-small-latest", "mistral-small-2603*", "mistral-medium", "mistral-medium-latest",
            "mistral-medium-2604*", "mistral-medium-3", "mistral-medium-3-5*", "mistral-medium-3.5*",
        ),
        reasoning=ReasoningSupport(enable_value="high", efforts=("high",), enabled_by_default=False),
    ),
    ModelProfile(globs=("mistral-large-4*",), reasoning=ReasoningSupport(enable_value="high")),
)  # fmt: skip
