"""A ChatRequest's options as fields of Ollama's ``/api/chat``."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from llm.chat.request import ChatRequest, Options
from llm.engines.capabilities import guessed_abilities
from llm.engines.engine import Engine
from llm.engines.options import asked, taken, unmet_caching
from llm.engines.profiles import ANY
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.schema_subset import inlined

# https://docs.ollama.com/capabilities/thinking: most models take true or false, newer servers a level too. One family
# thinks whatever it is told, and takes no "max".
_LEVELS: Final[Mapping[str, str]] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max"}
_ALWAYS_THINKS: Final = "*gpt-oss*"
# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "format", "tool_choice", "parallel_tools", "logprobs", "top_logprobs",
    "caching", "context_tokens", "extra",
})  # fmt: skip
_BESIDE: Final = ("keep_alive", "truncate", "shift")  # of ``extra``: they have no place among the wire's own options


def write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    options = taken(request.options, engine, request.model, ANY, False, _KNOWN)
    dropped += unmet_caching(options, engine, False)
    if options.parallel_tools is False and request.tools:
        dropped.append("parallel_tools")  # told, not refused: agents ask for it with every request
    if options.tool_choice not in (None, "auto", "none"):
        raise refusal(engine, "tool_choice", "cannot be made to call a tool")
    inner: dict[str, Json] = {
        "num_ctx": options.context_tokens,
        "num_predict": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "seed": options.seed,
        "stop": [*options.stop] or None,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
    }
    inner = {name: value for name, value in inner.items() if value is not None}
    inner |= {name: value for name, value in options.extra.items() if name not in _BESIDE}
    wire: dict[str, Json] = {
        "options": inner or None,
        "think": _think(options, request, engine, dropped),
        "format": _format(options, engine),
        "logprobs": options.logprobs if options.top_logprobs is None else True,
        "top_logprobs": options.top_logprobs,
    }
    beside = {name: options.extra[name] for name in _BESIDE if name in options.extra}
    return {**{name: value for name, value in wire.items() if value is not None}, **beside}


def _think(options: Options, request: ChatRequest, engine: Engine, dropped: list[str]) -> Json:
    model = request.model
    by, wanted, effort = asked(options)
    known = engine.models.reasoning
    if wanted and by in request.wishes and known and "reasoning" not in guessed_abilities(model, engine.models, ()):
        raise refusal(engine, by, f"cannot take {by} for {model}: it does not think")
    if by in engine.quirks.refuses and wanted is not None:
        raise refusal(engine, by, f"has no option {by}")
    always = fnmatchcase(model.lower(), _ALWAYS_THINKS)
    if always and wanted is False:
        dropped.append(by)  # taken, without effect: recorded
        return False
    if effort is None or not wanted or (by == "reasoning_tokens" and not always):
        if by == "reasoning_tokens" and wanted and effort is not None:
            dropped.append(by)  # how much cannot be said
        return None if always else wanted
    if effort not in _LEVELS or (always and effort == "max"):
        words = "low, medium, high" if always else "low, medium, high, max"
        raise refusal(engine, by, f"cannot take effort {effort!r} for {model}: it takes {words}")
    if by == "effort" and options.reasoning_tokens is not None:
        dropped.append("reasoning_tokens")
    return _LEVELS[effort]


def _format(options: Options, engine: Engine) -> Json:
    if options.format is None:
        return None
    if options.format.schema is not None and not engine.quirks.json_schema:
        raise refusal(engine, "format", "does not keep to a schema")
    if options.format.schema is None:
        return "json"
    # Its grammars follow references inside a schema, but from older servers; one that contains itself needs them.
    whole = inlined(options.format.schema, "format")
    return dict(options.format.schema) if whole.lost else whole.schema


def refusal(engine: Engine, name: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} {why}.", param=name, engine=engine.name)
