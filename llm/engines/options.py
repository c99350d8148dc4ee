"""What of a request's options goes to a model, by its engine's record: what is left, what is refused, how it thinks.

For every dialect that asks ``llm.engines.profiles``; the words of its wire are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Final

from llm.chat.request import NO_OPTIONS, Effort, Options
from llm.engines.engine import Engine
from llm.engines.profiles import Family, Said
from llm.errors import Unsupported
from llm.wire.json_codec import Json

# Where a wire has no budget of thought: the effort that other wires give about so many tokens for.
_EFFORTS: Final[Sequence[tuple[float, Effort]]] = (
    (0, "none"),
    (4096, "low"),
    (16384, "medium"),
    (float("inf"), "high"),
)
# What asks for nothing is no question to a model that refuses the option: it is left out, and all is as it was asked.
_ASKS_NOTHING: Final[Mapping[str, object]] = {
    "temperature": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "verbosity": "medium",
    "logprobs": False,
    "service_tier": "auto",
    "citations": False,
    "context_tokens": 0,
}


@dataclass(frozen=True, slots=True)
class Thought:
    """How much a request wants its model to think."""

    wanted: bool | None = None  # None: nothing has to be said
    effort: str | None = None  # in the model's words
    tokens: int | None = None  # the budget that was asked for
    unsaid: tuple[str, ...] = ()  # options that no word was found for


NOTHING_SAID: Final = Thought()


def thought(options: Options, engine: Engine, model: str, family: Family) -> Thought:
    """Raises ``Unsupported`` naming the option."""
    by, wanted, effort = asked(options)
    if wanted is None:
        return NOTHING_SAID
    if "effort" in engine.quirks.refuses:
        raise _refusal(engine, by)
    thinking = family.thinking
    if thinking is None:
        if wanted:
            raise _refusal(engine, by, "it does not think", model)
        return NOTHING_SAID
    if not wanted:
        if thinking.off is None:
            raise _refusal(engine, by, "its thinking cannot be turned off", model)
        return Thought(False, _word(thinking.off))
    if effort is None:
        return Thought(True, _word(thinking.on), unsaid=(by,) if thinking.on is None and by == "reasoning" else ())
    if thinking.efforts is not None and effort not in thinking.efforts:
        words = f"of efforts it takes {', '.join(thinking.efforts)}" if thinking.efforts else "it takes no effort"
        raise _refusal(engine, by, words if by == "effort" else f"it would be told as {effort!r}, and {words}", model)
    budget = options.reasoning_tokens
    if by == "reasoning_tokens":
        return Thought(True, effort, budget)
    return Thought(True, effort, unsaid=("reasoning_tokens",) if budget is not None and budget > 0 else ())


def _word(said: Said | None) -> str | None:
    """The effort, where it is one that says it."""
    return said or None if isinstance(said, str) else None


def asked(options: Options) -> tuple[str, bool | None, str | None]:
    """The option that says it, whether to think, how much."""
    if options.effort is not None:
        return "effort", options.effort != "none", options.effort
    if options.reasoning is False:
        return "reasoning", False, None
    budget = options.reasoning_tokens
    if budget is not None and budget >= 0:
        effort = next(word for most, word in _EFFORTS if budget <= most)
        return "reasoning_tokens", budget > 0, effort
    if budget is not None:  # as much as the model likes (Gemini)
        return "reasoning_tokens", True, None
    return "reasoning", options.reasoning, None


def thinks(wanted: Thought, family: Family) -> bool:
    """False where it is not known."""
    if family.thinking is None:
        return False
    return bool(family.thinking.by_default if wanted.wanted is None else wanted.wanted)


def taken(
    options: Options, engine: Engine, model: str, family: Family, thinking: bool, known: frozenset[str]
) -> Options:
    """The options less those that ask nothing of a model that refuses them.

    ``known`` are those that the dialect writes: any other that is set is refused, so that a new field of ``Options`` is
    lost nowhere. Raises ``Unsupported`` naming the option.
    """
    if options is NO_OPTIONS:
        return options
    changes: dict[str, Any] = {}
    by_thinking = family.refuses_thinking if thinking else _NOBODY
    unset = _unset(options)
    by_wire = frozenset(unset) - known - _ROUTED
    for name, why in _refused(family.refuses, by_thinking, by_wire, engine.quirks.refuses):
        value = getattr(options, name)
        if value == unset[name] or (family.cites and name == "citations"):
            continue
        if name not in _ASKS_NOTHING or value != _ASKS_NOTHING[name]:
            raise _refusal(engine, name, why, model)
        changes[name] = unset[name]
    _count(engine, "stop", len(options.stop), engine.quirks.most_stops)
    _count(engine, "top_logprobs", options.top_logprobs or 0, engine.quirks.most_logprobs)
    return replace(options, **changes) if changes else options


def _unset(options: Options) -> Mapping[str, object]:
    """The value of each option that nobody asked for."""
    kind = type(options)
    if kind not in _UNSET:
        nothing = kind()
        _UNSET[kind] = {field.name: getattr(nothing, field.name) for field in fields(kind)}
    return _UNSET[kind]


@lru_cache(maxsize=256)
def _refused(
    by_model: frozenset[str], by_thinking: frozenset[str], by_wire: frozenset[str], by_engine: frozenset[str]
) -> Sequence[tuple[str, str]]:
    """Names of options, in the order in which it is told that they are refused, each with why."""
    why = dict.fromkeys(by_model, "it has no such option")
    why |= dict.fromkeys(by_thinking, "it is thinking")
    why |= dict.fromkeys(by_wire, "this API has no such option")
    why |= dict.fromkeys(by_engine, "")
    return sorted(why.items())


_UNSET: Final[dict[type, Mapping[str, object]]] = {}
_NOBODY: Final[frozenset[str]] = frozenset()
_ROUTED: Final = frozenset(
    {"responses_api"}
)  # kept to, or refused, before a dialect is asked (``llm.engines.api_choice``)


def unmet_caching(options: Options, engine: Engine, marked: bool) -> tuple[str, ...]:
    """``caching``, where it was asked for otherwise than it is. ``marked``: prompts are cached if they are marked."""
    if options.caching is None or marked or (options.caching and engine.caching == "automatic"):
        return ()
    return ("caching",)


def ignored(options: Options, family: Family, thinking: bool) -> tuple[str, ...]:
    """What will have no effect."""
    if not thinking or not family.ignores_thinking:
        return ()
    return tuple(sorted(n for n in family.ignores_thinking if getattr(options, n) is not None))


def over(under: Any, value: Json) -> Json:
    """``value`` for a field that holds ``under``: an object keeps what else is in it."""
    return {**under, **value} if isinstance(value, dict) and isinstance(under, dict) else value


def aside(fields: Mapping[str, Json], own: Mapping[str, Any]) -> dict[str, Json]:
    """Fields that no option asked for: what a client says in them itself goes before."""
    return {name: over(value, own.get(name, value)) for name, value in fields.items()} if fields else {}


def _count(engine: Engine, name: str, given: int, most: int | None) -> None:
    if most is not None and given > most:
        raise Unsupported(f"{engine.label} takes at most {most} of {name}.", param=name, engine=engine.name)


def _refusal(engine: Engine, name: str, why: str = "", model: str = "") -> Unsupported:
    told = f"{engine.label} cannot take {name} for {model}: {why}." if why else f"{engine.label} has no option {name}."
    return Unsupported(told, param=name, engine=engine.name)
