"""What an engine's models take of the generation options, where they differ: one row for each family of models.

Rows are asked in order, the first glob that fits the id holds; an id that no row knows gets whatever it is asked for,
and its engine answers (T8). Sources: each engine's own documentation (``Engine.docs``), and what was recorded, where
the two part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from llm.engines.globs import fits, remembered
from llm.wire.json_codec import Json

# What says something about thinking: an effort, or fields of Chat Completions. "": nothing has to be said.
Said: TypeAlias = str | Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How a model is told whether and how much to think."""

    on: Said | None = None  # to think, without saying how much; None: no word for it is known
    off: Said | None = "none"  # not to think; None: it always does
    efforts: tuple[str, ...] | None = None  # those it takes, beside ``off``; None: any, the engine knows
    by_default: bool | None = None  # whether it thinks if nothing is said; None: unknown
    within: str = ""  # the object of Chat Completions that effort and budget stand in; "": reasoning_effort, no object
    budget: bool = False  # takes a number of tokens there too
    with_effort: Mapping[str, Json] = field(default_factory=dict)  # what goes along with an effort


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # each is its own: what is found for one is remembered
class Family:
    """Models that take the same options. Names of options are those of the fields of ``Options``."""

    globs: tuple[str, ...] = ("*",)
    thinking: Thinking | None = Thinking()  # None: it does not think
    refuses: frozenset[str] = frozenset()  # answered with 400
    refuses_thinking: frozenset[str] = frozenset()  # the same, while it thinks
    ignores_thinking: frozenset[str] = frozenset()  # without effect while it thinks
    cites: bool = False  # tells its sources, unasked
    caching: Mapping[str, Json] = field(default_factory=dict)  # fields that ask for it, where it is not automatic
    sends: Mapping[str, Json] = field(default_factory=dict)  # fields that always go along, unless a client has them


ANY: Final = Family()  # for models that no row knows


@remembered
def family_of(model: str, families: tuple[Family, ...]) -> Family:
    for family in families:
        if fits(model, family.globs):
            return family
    return ANY


_ALWAYS: Final = Thinking(on="", off=None, by_default=True)
_THREE: Final = ("low", "medium", "high")

_SAMPLERS: Final = frozenset(
    {"temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "stop"}
)

OPENAI: Final = (
    Family(globs=("*-search-*",), cites=True),
    Family(globs=("*-chat*", "chatgpt*")),  # some think, some do not, and no id tells
    Family(
        globs=("o[134]", "o[134]-*", "ft:o[134]-*"),
        thinking=_ALWAYS,
        refuses=frozenset({"verbosity"}),
        refuses_thinking=_SAMPLERS,
    ),
    Family(
        globs=("gpt-5", "gpt-5-*", "gpt-[5-9]*-pro*", "gpt-6-astra*", "gpt-6.1-sol*"),
        thinking=_ALWAYS,
        refuses_thinking=_SAMPLERS,
    ),
    Family(
        globs=("*codex*", "gpt-5.[5-9]*", "gpt-[6-9]*"),
        thinking=Thinking(on="", by_default=True),
        refuses_thinking=_SAMPLERS,
    ),
    Family(  # recorded: what says nothing is told effort "none", and log probabilities are given
        globs=("gpt-5.[1-4]", "gpt-5.[1-4]-*"),
        thinking=Thinking(on="medium", by_default=False),
        refuses_thinking=_SAMPLERS,
    ),
    Family(globs=("gpt-[34]*", "ft:gpt-[34]*"), thinking=None, refuses=frozenset({"verbosity"})),
)

# A deployment is named by its owner, mostly after its model.
AZURE: Final = tuple(
    replace(family, globs=tuple(f"*{glob}" if glob.startswith("gpt") else glob for glob in family.globs))
    for family in OPENAI
)

_XAI_REFUSES: Final = frozenset({"stop", "presence_penalty", "frequency_penalty"})
XAI: Final = (
    Family(
        globs=("*non-reasoning*", "grok-2*", "grok-3", "grok-3-latest", "grok-3-beta", "grok-3-fast*"), thinking=None
    ),
    Family(
        globs=("grok-3-mini*",),
        thinking=replace(_ALWAYS, efforts=("low", "high")),
        refuses_thinking=_XAI_REFUSES,
    ),
    Family(
        globs=("grok-4", "grok-4-0709", "grok-4.20-reasoning*", "grok-4.20-*-reasoning*"),
        thinking=replace(_ALWAYS, efforts=()),
        refuses_thinking=_XAI_REFUSES,
    ),
    Family(globs=("grok-4.5*",), thinking=replace(_ALWAYS, efforts=_THREE), refuses_thinking=_XAI_REFUSES),
    Family(
        globs=("grok-4.[67]*",),
        thinking=Thinking(on="", efforts=(*_THREE, "xhigh"), by_default=True),
        refuses_thinking=_XAI_REFUSES,
    ),
    Family(
        globs=("grok-4.3*",),
        thinking=Thinking(on="", efforts=("minimal", *_THREE), by_default=True),
        refuses_thinking=_XAI_REFUSES,
    ),
    Family(
        globs=("grok-code*", "grok-[4-9]*"),
        thinking=Thinking(on="", by_default=True),
        refuses_thinking=_XAI_REFUSES,
    ),
)

GROQ: Final = (
    Family(globs=("openai/gpt-oss*",), thinking=replace(_ALWAYS, efforts=_THREE)),
    Family(  # it may think or not, and says what it thought in the text unless told otherwise
        globs=("qwen/qwen3*",),
        thinking=Thinking(on={"reasoning_effort": "default"}, efforts=(), by_default=True),
        sends={"reasoning_format": "parsed"},
    ),
    Family(globs=("llama*", "meta-llama/*", "gemma*", "moonshotai/kimi-k2-instruct*"), thinking=None),
)

CEREBRAS: Final = (
    Family(globs=("gpt-oss*",), thinking=replace(_ALWAYS, efforts=_THREE)),
    Family(globs=("zai-glm*",), thinking=Thinking(on="", by_default=True)),
    Family(globs=("*-instruct*", "*-coder*", "llama*"), thinking=None),
)

# https://api-docs.deepseek.com/guides/thinking_mode: on by default; samplers do nothing then, without an error.
_SWITCHED: Final[Mapping[str, Json]] = {"thinking": {"type": "enabled"}}
_DEEPSEEK: Final = Thinking(
    on=_SWITCHED, off={"thinking": {"type": "disabled"}}, by_default=True, with_effort=_SWITCHED
)
_DEEPSEEK_IGNORES: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
DEEPSEEK: Final = (
    Family(  # an older name, for not thinking
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
# Other models' prompts are cached unasked; a mark at the top moves along with the conversation.
_MARKED: Final[Mapping[str, Json]] = {"cache_control": {"type": "ephemeral"}}
OPENROUTER: Final = (
    replace(_OPENROUTER, globs=("anthropic/*:online",), cites=True, caching=_MARKED),
    replace(_OPENROUTER, globs=("anthropic/*",), caching=_MARKED),
    replace(_OPENROUTER, globs=("*:online", "perplexity/*", "*-search-preview*"), cites=True),
    _OPENROUTER,
)

# https://docs.together.ai/docs/inference/chat/reasoning: some always think, some by a switch, some by effort.
TOGETHER: Final = (
    Family(globs=("openai/gpt-oss*",), thinking=replace(_ALWAYS, efforts=_THREE)),
    Family(globs=("*DeepSeek-R1*", "MiniMaxAI/*", "*-Thinking*"), thinking=_ALWAYS),
    Family(globs=("meta-llama/*",), thinking=None),
    Family(thinking=Thinking(on={"reasoning": {"enabled": True}}, off={"reasoning": {"enabled": False}})),
)

META: Final = (Family(globs=("muse*",), thinking=replace(_ALWAYS, efforts=("minimal", *_THREE, "xhigh"))),)

MISTRAL: Final = (
    Family(
        globs=("*magistral*",),
        thinking=replace(_ALWAYS, on={"prompt_mode": "reasoning"}, efforts=()),
    ),
    Family(
        globs=(
            "mistral-small-latest", "mistral-small-2603*", "mistral-medium-3", "mistral-medium-3-5*",
            "mistral-medium-3.5*",
        ),
        thinking=Thinking(on="high", efforts=("high",), by_default=False),
    ),
)  # fmt: skip
