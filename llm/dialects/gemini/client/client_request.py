"""Reads the body of a client's ``generateContent`` as a ChatRequest.

The model and whether the answer is streamed are in the URL: the handler puts them into the body, as ``model`` and
``stream``. All names are read in both spellings (``shared``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, get_args

from llm.chat.provider_metadata import Metadata, ProviderMetadata, unknown_fields
from llm.chat.request import ChatRequest, Effort, JsonFormat, Options, ToolSpec, WebKind, WebTool, read_domains
from llm.dialects.gemini.client.client_contents import read_contents, read_system
from llm.dialects.gemini.client.client_fields import SpelledFields, read_objects, spell_names
from llm.dialects.gemini.client.client_schema import read_json_schema, read_schema
from llm.dialects.gemini.shared import CONFIG_PREFIX, NAME, pack_request_form

_KNOWN: Final = (
    "model", "stream", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier",
)  # fmt: skip
_CONFIG: Final = (
    "stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema",
    "maxOutputTokens", "temperature", "topP", "topK", "seed", "presencePenalty", "frequencyPenalty",
    "responseLogprobs", "logprobs", "thinkingConfig",
)  # fmt: skip
# Fields that may be dropped: they change who may see the request, how much is paid for a picture, or which answers the
# provider holds back; another engine has rules of its own.
_DROPPABLE: Final = frozenset({
    "safetySettings", "labels", "store", "mediaResolution", f"{CONFIG_PREFIX}mediaResolution",
    f"{CONFIG_PREFIX}enableEnhancedCivicAnswers", f"{CONFIG_PREFIX}audioTimestamp",
})  # fmt: skip
# Values with which a field asks for nothing.
_DEFAULTS: Final[Mapping[str, Sequence[object]]] = {
    "candidateCount": (1,),
    "responseModalities": (["TEXT"], ["text"]),
    "enableEnhancedCivicAnswers": (False,),
    "audioTimestamp": (False,),
    "mediaResolution": ("MEDIA_RESOLUTION_UNSPECIFIED",),
}
# Options that may be dropped: clients of this wire set them by the name of a Gemini model, and another engine may
# answer.
_SOFT_OPTIONS: Final = frozenset({"reasoning", "reasoning_tokens", "effort"})
# How Gemini's models sample by themselves, as their list says. Gemini CLI sends these values in every request, so they
# may be dropped too; others may not.
_DEFAULT_SAMPLING: Final[Mapping[str, Sequence[float]]] = {"temperature": (1,), "top_p": (0.95, 1), "top_k": (40, 64)}
_OPTION_NAMES: Final[Mapping[str, str]] = {
    "max_tokens": f"{CONFIG_PREFIX}maxOutputTokens",
    "temperature": f"{CONFIG_PREFIX}temperature",
    "top_p": f"{CONFIG_PREFIX}topP",
    "top_k": f"{CONFIG_PREFIX}topK",
    "stop": f"{CONFIG_PREFIX}stopSequences",
    "seed": f"{CONFIG_PREFIX}seed",
    "presence_penalty": f"{CONFIG_PREFIX}presencePenalty",
    "frequency_penalty": f"{CONFIG_PREFIX}frequencyPenalty",
    "reasoning": f"{CONFIG_PREFIX}thinkingConfig",
    "reasoning_tokens": f"{CONFIG_PREFIX}thinkingConfig.thinkingBudget",
    "effort": f"{CONFIG_PREFIX}thinkingConfig.thinkingLevel",
    "format": f"{CONFIG_PREFIX}responseSchema",
    "tool_choice": "toolConfig.functionCallingConfig",
    "logprobs": f"{CONFIG_PREFIX}responseLogprobs",
    "top_logprobs": f"{CONFIG_PREFIX}logprobs",
    "service_tier": "serviceTier",
}
_JSON: Final = "application/json"
_TIERS: Final[Mapping[str, str]] = {"standard": "default", "unspecified": "auto"}
_LEVELS: Final[Mapping[str, Effort]] = {effort.upper(): effort for effort in get_args(Effort)}
_MODES: Final[Mapping[str, str]] = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
_WEB_KINDS: Final[Mapping[str, WebKind]] = {
    "googleSearch": "search", "googleSearchRetrieval": "search", "enterpriseWebSearch": "search", "urlContext": "fetch",
}  # fmt: skip
_EXCLUDED: Final = "excludeDomains"
_UNSPECIFIED: Final = ("", "MODE_UNSPECIFIED", "THINKING_LEVEL_UNSPECIFIED")


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the JSON path of the invalid field in ``param``."""
    fields = SpelledFields(body)
    config = fields.read_object("generationConfig") or SpelledFields({}, "generationConfig")
    thinking = config.read_object("thinkingConfig") or SpelledFields({}, "generationConfig.thinkingConfig")
    tools = [*_read_tools(fields)]
    choice, own_choice = _read_choice(fields, tools)
    present = {name: value for name, value in fields.raw.items() if value is not None}
    more, defaults = _read_more_config(config)
    options = replace(_read_options(fields, config, thinking), **choice)
    usual = (name for name, values in _DEFAULT_SAMPLING.items() if getattr(options, name) in values)
    own = unknown_fields(thinking.raw, ("includeThoughts", "thinkingBudget", "thinkingLevel"), NAME, None)
    return ChatRequest(
        model=fields.read_required_text("model"),
        messages=(*read_system(fields), *read_contents(fields)),
        tools=tuple(tools),
        options=options,
        stream=fields.read_flag("stream") or False,
        metadata=(
            *unknown_fields(present, _KNOWN, NAME, None),
            *more,
            *pack_request_form(includeThoughts=thinking.read_flag("includeThoughts") or False),
        ),
        own_settings=(*own, *own_choice),
        option_names=_OPTION_NAMES,
        droppable_fields=_DROPPABLE,
        default_fields=defaults,
        soft_options=_SOFT_OPTIONS.union(usual),
    )


def _read_more_config(config: SpelledFields) -> tuple[Metadata, frozenset[str]]:
    """Returns the fields of the configuration that only this wire has, with their path as name, and default ones."""
    more = {f"{CONFIG_PREFIX}{n}": v for n, v in config.raw.items() if n not in _CONFIG and v is not None}
    mime = config.read_text("responseMimeType")
    if mime not in (None, "", "text/plain", _JSON):
        more[f"{CONFIG_PREFIX}responseMimeType"] = mime
    defaults = (n for n in more if config.raw.get(s := n.removeprefix(CONFIG_PREFIX)) in _DEFAULTS.get(s, ()))
    return ((ProviderMetadata(NAME, None, more),) if more else ()), frozenset(defaults)


def _read_tools(fields: SpelledFields) -> Iterator[ToolSpec]:
    for tool in read_objects(fields, "tools"):
        for name, value in tool.raw.items():
            if name != "functionDeclarations" and value is not None:
                own = (ProviderMetadata(NAME, None, {name: value}),)
                yield ToolSpec(name, executor="provider", metadata=own, web=_read_web(name, value))
        for function in read_objects(tool, "functionDeclarations"):
            yield _read_function(function)


def _read_web(name: str, value: object) -> WebTool | None:
    """Returns what a hosted tool does, if it searches the web or fetches pages."""
    kind = _WEB_KINDS.get(name)
    if kind is None:
        return None
    settings = spell_names(value) if isinstance(value, dict) else {}
    others = tuple(one for one in settings if one != _EXCLUDED)
    return WebTool(kind=kind, named=name, blocked_domains=read_domains(settings.get(_EXCLUDED)), others=others)


def _read_function(fields: SpelledFields) -> ToolSpec:
    plain, schema = fields.read_plain("parametersJsonSchema"), fields.read_plain("parameters")
    known = ("name", "description", "parameters", "parametersJsonSchema")
    return ToolSpec(
        name=fields.read_required_text("name"),
        description=fields.read_text("description") or "",
        parameters=read_json_schema(plain) if plain else read_schema(schema) if schema else {},
        metadata=unknown_fields({n: v for n, v in fields.raw.items() if v is not None}, known, NAME, None),
        schema_dialect=NAME,
    )


def _read_choice(fields: SpelledFields, tools: Sequence[ToolSpec]) -> tuple[dict[str, Any], Metadata]:
    """Returns the options of the tool choice, and the settings of it that only this wire has."""
    config = fields.read_object("toolConfig")
    calling = config.read_object("functionCallingConfig") if config else None
    own = unknown_fields(config.raw, ("functionCallingConfig",), NAME, None) if config else ()
    if calling is None:
        return {}, own
    own = (*own, *unknown_fields(calling.raw, ("mode", "allowedFunctionNames"), NAME, None))
    mode, names = calling.read_text("mode") or "", calling.read_list("allowedFunctionNames") or []
    if mode.upper() in _UNSPECIFIED:
        return {}, own
    if mode.upper() not in _MODES:
        raise calling.invalid("mode", f"{mode[:40]!r} is not one of {', '.join(_MODES)}")
    if not all(isinstance(name, str) for name in names):
        raise calling.invalid("allowedFunctionNames", "is not a list of texts")
    choice = _MODES[mode.upper()]
    if mode.upper() == "VALIDATED":
        own = (*own, ProviderMetadata(NAME, None, {"toolConfig.functionCallingConfig.mode": mode}))
    if choice != "required" and not any(tool.executor == "client" for tool in tools):
        return {}, own  # there is nothing to choose from
    if choice == "required" and len(names) == 1:
        return {"tool_choice": f"tool:{names[0]}"}, own
    return {"tool_choice": choice, "allowed_tools": tuple(names) if mode.upper() != "NONE" else ()}, own


def _read_options(fields: SpelledFields, config: SpelledFields, thinking: SpelledFields) -> Options:
    stop = config.read_list("stopSequences") or []
    if not all(isinstance(text, str) for text in stop):
        raise config.invalid("stopSequences", "is not a list of texts")
    budget = _read_whole(thinking, "thinkingBudget")
    level = (thinking.read_text("thinkingLevel") or "").upper()
    if level not in _UNSPECIFIED and level not in _LEVELS:
        raise thinking.invalid("thinkingLevel", f"{level[:40]!r} is not one of {', '.join(_LEVELS)}")
    asks = budget is None and level in _UNSPECIFIED and thinking.read_flag("includeThoughts")
    tier = fields.read_text("serviceTier")
    return Options(
        max_tokens=_read_whole(config, "maxOutputTokens"),
        temperature=config.read_number("temperature"),
        top_p=config.read_number("topP"),
        top_k=_read_whole(config, "topK"),
        stop=tuple(stop),
        seed=_read_whole(config, "seed"),
        presence_penalty=config.read_number("presencePenalty"),
        frequency_penalty=config.read_number("frequencyPenalty"),
        reasoning=False if budget == 0 else True if asks or (budget or 0) < 0 else None,
        reasoning_tokens=budget if (budget or 0) > 0 else None,
        effort=_LEVELS.get(level),
        format=_read_format(config),
        logprobs=config.read_flag("responseLogprobs"),
        top_logprobs=_read_whole(config, "logprobs"),
        service_tier=_TIERS.get(tier.lower(), tier.lower()) if tier else None,
    )


def _read_whole(fields: SpelledFields, name: str) -> int | None:
    """Reads a whole number; SDKs send some of them as ``40.0``."""
    value = fields.read_number(name)
    if value is not None and value != int(value):
        raise fields.invalid(name, "is not a whole number")
    return None if value is None else int(value)


def _read_format(config: SpelledFields) -> JsonFormat | None:
    plain = config.read_plain("responseJsonSchema") or config.read_plain("_responseJsonSchema")
    schema = config.read_plain("responseSchema")
    if config.read_text("responseMimeType") not in (None, "", "text/plain", _JSON):
        return None
    if plain is not None:
        return JsonFormat(read_json_schema(plain), strict=True, schema_dialect=NAME)
    if schema is not None:
        return JsonFormat(read_schema(schema), strict=True, schema_dialect=NAME)
    return JsonFormat() if config.read_text("responseMimeType") == _JSON else None
