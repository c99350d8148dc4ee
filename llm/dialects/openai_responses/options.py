"""Generation options as fields of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm.chat import ChatRequest, Effort, Options
from llm.dialects.openai_responses.items import NAME
from llm.engines import Engine
from llm.errors import Unsupported
from llm.lenient import dict_of, list_of
from llm.models import guessed_abilities
from llm.opaque import Json, opaque_for

# No field of this wire says them. What asks for nothing (a penalty of zero) is no question.
_UNKNOWN: Final = ("top_k", "stop", "seed", "context_tokens", "citations")
_HARMLESS_AT_ZERO: Final = ("presence_penalty", "frequency_penalty")
# This wire has no budget of thought: the effort that other wires give about so many tokens for.
_EFFORTS: Final[Sequence[tuple[float, Effort]]] = (
    (0, "none"),
    (4096, "low"),
    (16384, "medium"),
    (float("inf"), "high"),
)
ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"


def write_options(request: ChatRequest, engine: Engine, own: Mapping[str, Any], stateless: bool) -> dict[str, Json]:
    """``own`` are the fields that a client of this wire sent. Raises ``Unsupported`` naming the option."""
    options = request.options
    asked_by, effort = _effort(options)
    _check(options, engine)
    if effort is not None and "effort" in engine.quirks.refuses:
        raise _refusal(engine, asked_by)
    wire: dict[str, Json] = {
        "max_output_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "reasoning": _write_reasoning(options, effort, own),
        "text": _write_text(options, engine, own),
        "service_tier": options.service_tier,
        "parallel_tool_calls": options.parallel_tools,
        "top_logprobs": options.top_logprobs,
        "tool_choice": _write_tool_choice(request, engine),
        "include": _include(request, engine, own, stateless),
    }
    return {name: value for name, value in wire.items() if value is not None}


def _check(options: Options, engine: Engine) -> None:
    for name in (*_UNKNOWN, *_HARMLESS_AT_ZERO):
        value = getattr(options, name)
        if value is not None and value != () and value is not False and (value or name not in _HARMLESS_AT_ZERO):
            raise _refusal(engine, name)
    for name in sorted(engine.quirks.refuses):
        if getattr(options, name, None) not in (None, ()):
            raise _refusal(engine, name)


def _refusal(engine: Engine, name: str) -> Unsupported:
    return Unsupported(f"{engine.label} has no option {name} in this API.", param=name, engine=engine.name)


def _effort(options: Options) -> tuple[str, Effort | None]:
    """How much to think, and the option that says it."""
    if options.effort is not None:
        return "effort", options.effort
    if options.reasoning is False:
        return "reasoning", "none"
    budget = options.reasoning_tokens
    if budget is not None and budget >= 0:  # below: as much as the model likes (Gemini)
        return "reasoning_tokens", next(word for most, word in _EFFORTS if budget <= most)
    return "reasoning", None


def _asks_reasoning(options: Options, effort: Effort | None) -> bool:
    return effort not in (None, "none") or bool(options.reasoning) or options.reasoning_tokens is not None


def _write_reasoning(options: Options, effort: Effort | None, own: Mapping[str, Any]) -> Json:
    """Without ``summary`` nothing of what was thought is shown."""
    wire: dict[str, Json] = {}
    if effort != "none" and _asks_reasoning(options, effort):
        wire["summary"] = "auto"
    wire |= dict_of(own.get("reasoning"))
    if effort is not None:
        wire["effort"] = effort
    return wire or None


def _write_text(options: Options, engine: Engine, own: Mapping[str, Any]) -> Json:
    wire: dict[str, Json] = dict(dict_of(own.get("text")))
    if options.verbosity is not None:
        wire["verbosity"] = options.verbosity
    if (asked := options.format) is not None:
        format_: dict[str, Json] = {**opaque_for(asked.keep, NAME, engine.issuer)}
        if asked.schema is None:
            format_["type"] = "json_object"
        elif not engine.quirks.json_schema:
            raise Unsupported(f"{engine.label} does not keep to a schema.", param="format", engine=engine.name)
        else:
            format_ |= {"type": "json_schema", "name": asked.name, "schema": dict(asked.schema)}
            if asked.strict is not None:
                format_["strict"] = asked.strict
        wire["format"] = format_
    return wire or None


def _write_tool_choice(request: ChatRequest, engine: Engine) -> Json:
    choice = request.options.tool_choice
    if choice is None or choice in ("auto", "none"):
        return choice
    if not engine.quirks.forced_tools:
        raise Unsupported(f"{engine.label} cannot be made to call a tool.", param="tool_choice", engine=engine.name)
    kind, _, name = choice.partition(":")
    if kind != "tool":
        return choice
    hosted = next((tool for tool in request.tools if tool.name == name and tool.executor == "provider"), None)
    if hosted is None:
        return {"type": "function", "name": name}
    type = opaque_for(hosted.keep, NAME, engine.issuer).get("type")
    return {"type": "custom", "name": name} if type == "custom" else {"type": type}


def _include(request: ChatRequest, engine: Engine, own: Mapping[str, Any], stateless: bool) -> Json:
    """Reasoning that is stored nowhere has to come along, encrypted.

    A model that does not reason answers 400 to that ("Encrypted content is not supported with this model",
    pydantic/pydantic-ai issue 2865), so where the record tells which ones do, the others are not asked.
    """
    options, rules = request.options, engine.models
    include = list_of(own.get("include"))
    asked = _asks_reasoning(options, options.effort)
    if stateless and (asked or not rules.reasoning or "reasoning" in guessed_abilities(request.model, rules, ())):
        include = [*include, ENCRYPTED]
    if options.logprobs or options.top_logprobs is not None:
        include = [*include, _LOGPROBS]
    return [*dict.fromkeys(name for name in include if isinstance(name, str))] or None
