"""Writes generation options as fields of ``/api/chat``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from llm.chat.request import ChatRequest, Options
from llm.engines.capabilities import guess_capabilities
from llm.engines.engine import Engine
from llm.engines.options import check_options, unmet_caching
from llm.engines.profiles import DEFAULT_PROFILE
from llm.engines.reasoning import fit_effort, read_reasoning_options
from llm.errors import Unsupported
from llm.wire.json_codec import Json
from llm.wire.schema_subset import inline_refs

# Levels of ``think``. https://docs.ollama.com/capabilities/thinking: most models accept true or false, newer servers a
# level too. One family always reasons and does not accept "max".
_LEVELS: Final = ("low", "medium", "high", "max")
_ALWAYS_REASONS: Final = "*gpt-oss*"
# The options that this wire has fields for.
_KNOWN: Final = frozenset({
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
    "reasoning", "effort", "reasoning_tokens", "format", "tool_choice", "parallel_tools", "logprobs", "top_logprobs",
    "caching", "context_tokens", "extra",
})  # fmt: skip
_TOP_LEVEL: Final = ("keep_alive", "truncate", "shift")  # fields of ``extra`` that are not in the wire's ``options``


def write_options(request: ChatRequest, engine: Engine, dropped: list[str]) -> dict[str, Json]:
    """Writes the options; names of those without effect are appended to ``dropped``.

    Raises ``Unsupported`` naming the option.
    """
    options = check_options(request.options, engine, request.model, DEFAULT_PROFILE, False, _KNOWN)
    dropped += unmet_caching(options, engine, False)
    if options.parallel_tools is False and request.tools:
        dropped.append("parallel_tools")  # dropped, not refused: agents set it in every request
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
    inner |= {name: value for name, value in options.extra.items() if name not in _TOP_LEVEL}
    wire: dict[str, Json] = {
        "options": inner or None,
        "think": _write_think(options, request, engine, dropped),
        "format": _write_format(options, engine),
        "logprobs": options.logprobs if options.top_logprobs is None else True,
        "top_logprobs": options.top_logprobs,
    }
    top_level = {name: options.extra[name] for name in _TOP_LEVEL if name in options.extra}
    return {**{name: value for name, value in wire.items() if value is not None}, **top_level}


def _write_think(options: Options, request: ChatRequest, engine: Engine, dropped: list[str]) -> Json:
    model = request.model
    option, enabled, effort = read_reasoning_options(options)
    is_soft = enabled and option in request.soft_options
    if is_soft and engine.models.reasoning and "reasoning" not in guess_capabilities(model, engine.models, ()):
        raise build_refusal(engine, option, f"does not accept {option} for {model}: the model does not reason")
    if option in engine.quirks.unsupported_options and enabled is not None:
        raise build_refusal(engine, option, f"does not have the option {option}")
    always = fnmatchcase(model.lower(), _ALWAYS_REASONS)
    if always and enabled is False:
        dropped.append(option)  # accepted, without effect: recorded
        return False
    if effort is None or not enabled or (option == "reasoning_tokens" and not always):
        if option == "reasoning_tokens" and enabled and effort is not None:
            dropped.append(option)  # the wire has no budget
        return None if always else enabled
    if option == "effort" and options.reasoning_tokens is not None:
        dropped.append("reasoning_tokens")
    level = fit_effort(effort, _LEVELS[:3] if always else _LEVELS)
    if level != effort:
        dropped.append(option)
    return level


def _write_format(options: Options, engine: Engine) -> Json:
    if options.format is None:
        return None
    if options.format.schema is not None and not engine.quirks.json_schema:
        raise build_refusal(engine, "format", "does not support JSON schemas")
    if options.format.schema is None:
        return "json"
    # Older servers do not resolve references, so they are inlined; a recursive schema cannot be inlined completely.
    fit = inline_refs(options.format.schema, "format")
    return dict(options.format.schema) if fit.lost else fit.schema


def build_refusal(engine: Engine, name: str, reason: str) -> Unsupported:
    """Returns the error for an option or part; its sentence is the engine's label and ``reason``."""
    return Unsupported(f"{engine.label} {reason}.", param=name, engine=engine.name)
