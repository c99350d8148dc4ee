"""Checks the options of a request against the model's profile.

Used by all dialects that have profiles (``llm.engines.profiles``); each dialect writes the result in its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Final

from llm.chat.request import NO_OPTIONS, Options
from llm.engines.engine import Engine
from llm.engines.profiles import ModelProfile
from llm.errors import Unsupported
from llm.wire.json_codec import Json

# Values equal to the default behaviour. A model without the option behaves so too: the option is left out, not refused.
_NEUTRAL_VALUES: Final[Mapping[str, Sequence[object]]] = {
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "verbosity": ("medium",),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "service_tier": ("auto", "default"),
    "citations": (False,),
    "context_tokens": (0,),
}


def check_options(
    options: Options, engine: Engine, model: str, profile: ModelProfile, reasoning: bool, written: frozenset[str]
) -> Options:
    """Checks options against the model's profile. Raises ``Unsupported`` naming the option.

    Returns the options without unsupported ones that are set to their default behaviour. ``written`` are the options
    that the dialect writes: any other one that is set raises, so that no dialect can drop a new field of ``Options``.
    """
    if options is NO_OPTIONS:
        return options
    changes: dict[str, Any] = {}
    while_reasoning = profile.unsupported_while_reasoning if reasoning else _NO_NAMES
    unset = _unset_values(options)
    unwritten = frozenset(unset) - written - _FOR_API_CHOICE
    for name, reason in _unsupported_names(
        profile.unsupported_options, while_reasoning, unwritten, engine.quirks.unsupported_options
    ):
        value = getattr(options, name)
        if value == unset[name] or (profile.always_cites and name == "citations"):
            continue
        if not is_neutral(name, value):
            raise build_unsupported(engine, name, reason, model)
        changes[name] = unset[name]
    _check_limit(engine, "stop", len(options.stop), engine.quirks.max_stop_sequences)
    _check_limit(engine, "top_logprobs", options.top_logprobs or 0, engine.quirks.max_top_logprobs)
    return replace(options, **changes) if changes else options


def is_neutral(name: str, value: object) -> bool:
    """True for a value that asks for the default behaviour of every engine."""
    return value in _NEUTRAL_VALUES.get(name, ())


def _unset_values(options: Options) -> Mapping[str, object]:
    """Returns the value of each option that means that it is not set."""
    kind = type(options)
    if kind not in _UNSET_VALUES:
        unset = kind()
        _UNSET_VALUES[kind] = {field.name: getattr(unset, field.name) for field in fields(kind)}
    return _UNSET_VALUES[kind]


@lru_cache(maxsize=256)
def _unsupported_names(
    by_model: frozenset[str], while_reasoning: frozenset[str], by_dialect: frozenset[str], by_engine: frozenset[str]
) -> Sequence[tuple[str, str]]:
    """Returns (option, reason) pairs, sorted by option: the first one that is set is reported."""
    reasons = dict.fromkeys(by_model, "the model does not have this option")
    reasons |= dict.fromkeys(while_reasoning, "the model is reasoning")
    reasons |= dict.fromkeys(by_dialect, "this API does not have this option")
    reasons |= dict.fromkeys(by_engine, "")
    return sorted(reasons.items())


_UNSET_VALUES: Final[dict[type, Mapping[str, object]]] = {}
_NO_NAMES: Final[frozenset[str]] = frozenset()
_FOR_API_CHOICE: Final = frozenset({"responses_api"})  # followed or refused by ``llm.engines.api_choice``


def unmet_caching(options: Options, engine: Engine, marked: bool) -> tuple[str, ...]:
    """Returns ``("caching",)`` if that option has no effect. ``marked``: the engine caches marked prompts."""
    if options.caching is None or marked or (options.caching and engine.caching == "automatic"):
        return ()
    return ("caching",)


def ignored_options(options: Options, profile: ModelProfile, reasoning: bool) -> tuple[str, ...]:
    """Returns the names of set options that have no effect on this model while it reasons, sorted."""
    if not reasoning or not profile.ignored_while_reasoning:
        return ()
    values = {name: getattr(options, name) for name in profile.ignored_while_reasoning}
    return tuple(sorted(n for n, value in values.items() if value is not None and not is_neutral(n, value)))


def merge_field(old: Any, value: Json) -> Json:
    """Returns the new value of a field: two objects are merged, anything else is replaced."""
    return {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value


def add_extra_fields(body: Mapping[str, Json], extra: Mapping[str, Json]) -> dict[str, Json]:
    """Returns ``body`` with the fields of the option ``extra``. Two objects are merged, unless their types differ."""
    merged = dict(body)
    for name, value in extra.items():
        old = merged.get(name)
        other = (
            isinstance(old, dict) and isinstance(value, dict) and "type" in value and value["type"] != old.get("type")
        )
        merged[name] = value if other else merge_field(old, value)
    return merged


def default_fields(fields: Mapping[str, Json], own: Mapping[str, Any]) -> dict[str, Json]:
    """Returns ``fields`` to add to a request, each merged with the client's own value, which wins."""
    return {name: merge_field(value, own.get(name, value)) for name, value in fields.items()} if fields else {}


def _check_limit(engine: Engine, name: str, value: int, limit: int | None) -> None:
    if limit is not None and value > limit:
        raise Unsupported(f"{engine.label} accepts at most {limit} for {name}.", param=name, engine=engine.name)


def build_unsupported(engine: Engine, name: str, reason: str = "", model: str = "") -> Unsupported:
    """Returns the error for an option that the engine, or one of its models, does not have."""
    text = f"{engine.label} does not have the option {name}."
    if reason:
        text = f"{engine.label} does not accept {name} for {model}: {reason}."
    return Unsupported(text, param=name, engine=engine.name)
