"""The configured engines: records and custom engines, with the keys, URLs and models from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from llm.config.parsers import ConfigError, parse_flag, parse_key, parse_names, parse_text, parse_url, parse_variable
from llm.engines.engine import CacheMarks, Engine, MarkField, Quirks, ResponsesSupport, trim_base_url
from llm.engines.records import ENGINES
from llm.engines.task_support import (
    COMPLETIONS,
    CUSTOM_SPEECH,
    CUSTOM_TRANSCRIPTION,
    OLLAMA_COMPLETIONS,
    RERANK,
)

# Variables of an engine, after ``{ENGINE}_``, with their meaning.
SUFFIXES: Final = {
    "API_KEY": "provider key",
    "BASE_URL": "base URL of its API",
    "ENABLED": "local engines only",
    "THINK_TAGS": "its models put reasoning into the text in <think> tags",
    "REASONING_BACK": "which reasoning goes back to it: never, if_sent, with_tools or always",
    "REASONING_FIELD": "in which field, if that is not known: reasoning_content, reasoning, content or think_tags",
    "CACHE_MARKS": "field of its cache marks: cache_control or prompt_cache_breakpoint",
    "MODELS": "its models, comma separated, instead of its model list",
    "RESPONSES": "whether it has the Responses API, in which its clients are then passed through",
    "API_VERSION": "URLs name a deployment and this version (Azure's classic form)",
    "DEPLOYMENT": "the deployment in such URLs",
    "LABEL": "custom engines: display name",
    "DIALECT": "custom engines: wire format",
}
_CHOICES: Final = {
    "REASONING_BACK": ("never", "if_sent", "with_tools", "always"),
    "REASONING_FIELD": ("reasoning_content", "reasoning", "content", "think_tags"),
}
_MARK_FIELDS: Final[Mapping[str, MarkField]] = {name: name for name in get_args(MarkField)}
_QUIRKS: Final = {"REASONING_BACK": "echo_reasoning", "REASONING_FIELD": "reasoning_field"}
_DIALECTS: Final = ("openai-chat", "openai-responses", "anthropic", "gemini", "ollama")
_COMPLETIONS: Final = {"openai-chat": COMPLETIONS, "ollama": OLLAMA_COMPLETIONS}
_ENGINE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def variable_name(engine: str, suffix: str) -> str:
    """Returns the name of an engine's variable: ``("box-2", "API_KEY")`` gives ``BOX_2_API_KEY``."""
    return f"{engine.upper().replace('-', '_')}_{suffix}"


def read_custom_engines(values: Mapping[str, str]) -> dict[str, Engine]:
    """Reads the engines of ``CUSTOM_ENGINES=vllm,box2`` from their variables. Raises :class:`ConfigError`."""
    custom: dict[str, Engine] = {}
    for name in parse_names(values.get("CUSTOM_ENGINES", "")):
        if not _ENGINE_NAME.fullmatch(name):
            raise ConfigError("CUSTOM_ENGINES", f"{name!r} is not a name such as vllm or box-2")
        if name in ENGINES or name in custom:
            raise ConfigError("CUSTOM_ENGINES", f"{name!r} is the name of another engine")
        url_name, dialect_name = variable_name(name, "BASE_URL"), variable_name(name, "DIALECT")
        if url_name not in values:
            raise ConfigError(url_name, "is needed for a custom engine")
        dialect = values.get(dialect_name, "openai-chat").strip()
        if dialect not in _DIALECTS:
            raise ConfigError(dialect_name, f"{dialect!r} is not one of {', '.join(_DIALECTS)}")
        has_key = variable_name(name, "API_KEY") in values
        custom[name] = Engine(
            name=name,
            label=values.get(variable_name(name, "LABEL"), name),
            dialect=dialect,
            needs_key=has_key,
            local=not has_key,
            # Kimi and other models refuse the result of a tool call without the reasoning of the call.
            quirks=Quirks(
                echo_reasoning="with_tools",
                flat_content=True,  # servers that show the model the JSON of a list (llama.cpp)
                unsigned_reasoning=any(e.quirks.unsigned_reasoning for e in ENGINES.values() if e.dialect == dialect),
            ),
            # Not known, so they are tried when requested.
            responses=ResponsesSupport() if dialect == "openai-chat" else None,
            completions=_COMPLETIONS.get(dialect),
            moderates=dialect == "openai-chat",
            rerank=RERANK if dialect == "openai-chat" else None,
            speech=CUSTOM_SPEECH if dialect == "openai-chat" else None,
            transcription=CUSTOM_TRANSCRIPTION if dialect == "openai-chat" else None,
        )
    return custom


def read_engines(
    engines: Mapping[str, Engine], values: Mapping[str, str]
) -> tuple[dict[str, Engine], dict[str, str], frozenset[str]]:
    """Returns the engines with their variables applied, the server's keys, and the names of enabled engines."""
    keys, enabled = dict[str, str](), set[str]()
    configured = dict(engines)
    for name, engine in engines.items():
        key_name = variable_name(name, "API_KEY")
        if key_name in values:
            keys[name] = parse_variable(key_name, parse_key, values[key_name])
            enabled.add(name)
        engine = _set_reasoning(name, _set_base_url_and_tags(name, engine, values), values)
        engine = _set_responses(name, _set_cache_marks(name, engine, values), values)
        configured[name] = _set_models_and_urls(name, engine, values)
        if engine.local:
            flag = values.get(variable_name(name, "ENABLED"), str(name not in ENGINES))
            on = parse_variable(variable_name(name, "ENABLED"), parse_flag, flag)
            enabled = enabled | {name} if on else enabled - {name}
    if parse_variable("DEMO_ENABLED", parse_flag, values.get("DEMO_ENABLED", str(not enabled))):
        enabled.add("demo")
    return configured, keys, frozenset(enabled)


def _set_base_url_and_tags(name: str, engine: Engine, values: Mapping[str, str]) -> Engine:
    url_name, tags_name = variable_name(name, "BASE_URL"), variable_name(name, "THINK_TAGS")
    if url_name in values:
        url = parse_variable(url_name, parse_url, values[url_name])
        if engine.quirks.refuses_max_tokens and engine.base_url and not _is_same_owner(url, engine.base_url):
            # Most servers that only resemble OpenAI's ignore the newer field, and with it the limit.
            engine = replace(engine, quirks=replace(engine.quirks, max_tokens_field="max_tokens"))
        engine = replace(engine, base_url=trim_base_url(url, engine.dialect))
    if tags_name in values:
        tags = parse_variable(tags_name, parse_flag, values[tags_name])
        quirks = replace(engine.quirks, think_tags=tags)
        if tags:  # reasoning goes back as it came
            quirks = replace(quirks, reasoning_field="think_tags")
        engine = replace(engine, quirks=quirks, always_translate=tags)
    return engine


def _is_same_owner(url: str, other: str) -> bool:
    """True if the hosts end with the same two labels, as ``eu.api.openai.com`` and ``api.openai.com`` do."""
    first, second = ((urlsplit(one).hostname or "").split(".")[-2:] for one in (url, other))
    return first == second


def _set_reasoning(name: str, engine: Engine, values: Mapping[str, str]) -> Engine:
    changes: dict[str, Any] = {}
    for suffix, quirk in _QUIRKS.items():
        variable = variable_name(name, suffix)
        if variable in values:
            changes[quirk] = values[variable].strip()
            if changes[quirk] not in _CHOICES[suffix]:
                raise ConfigError(variable, f"{changes[quirk]!r} is not one of {', '.join(_CHOICES[suffix])}")
    return replace(engine, quirks=replace(engine.quirks, **changes)) if changes else engine


def _set_cache_marks(name: str, engine: Engine, values: Mapping[str, str]) -> Engine:
    variable = variable_name(name, "CACHE_MARKS")
    if variable not in values:
        return engine
    field = _MARK_FIELDS.get(values[variable].strip())
    if field is None:
        raise ConfigError(variable, f"{values[variable]!r} is not one of {', '.join(_MARK_FIELDS)}")
    return replace(engine, cache_marks=CacheMarks(field=field))


def _set_responses(name: str, engine: Engine, values: Mapping[str, str]) -> Engine:
    variable = variable_name(name, "RESPONSES")
    if variable not in values:
        return engine
    if engine.dialect != "openai-chat":
        raise ConfigError(variable, "is for engines with Chat Completions")
    if not parse_variable(variable, parse_flag, values[variable]):
        return replace(engine, responses=None)
    return replace(engine, responses=replace(engine.responses or ResponsesSupport(), forced=True))


def _set_models_and_urls(name: str, engine: Engine, values: Mapping[str, str]) -> Engine:
    """Applies the models to list and the variables of Azure's two forms of URL."""
    models_name, version_name, deployment_name = (
        variable_name(name, s) for s in ("MODELS", "API_VERSION", "DEPLOYMENT")
    )
    if models_name in values:
        fixed = parse_names(parse_variable(models_name, parse_text, values[models_name]))
        engine = replace(engine, models=replace(engine.models, fixed_models=fixed))
    if version_name in values:
        engine = replace(engine, api_version=parse_variable(version_name, parse_text, values[version_name]))
        engine = replace(engine, base_url=engine.base_url.removesuffix("/openai"))
    if deployment_name in values:
        engine = replace(engine, deployment=parse_variable(deployment_name, parse_text, values[deployment_name]))
    if engine.path and engine.base_url.endswith(engine.path):  # the configured base URL may include it
        engine = replace(engine, base_url=engine.base_url.removesuffix(engine.path))
    return engine


def set_task_defaults(
    engines: Mapping[str, Engine], prefix: str, name: str, task: str, **defaults: str
) -> Mapping[str, Engine]:
    """Returns the engines with the configured model and voice as defaults of the task. Raises :class:`ConfigError`.

    ``prefix`` is that of the variables (``TTS``), ``name`` the engine or ``""``, ``task`` the attribute of ``Engine``.
    """
    chosen = {field: value for field, value in defaults.items() if value}
    if not name:
        if chosen:
            raise ConfigError(f"{prefix}_ENGINE", f"is needed for {prefix}_{next(iter(chosen)).upper()}")
        return engines
    engine = engines.get(name)
    if engine is None or getattr(engine, task) is None:
        raise ConfigError(f"{prefix}_ENGINE", f"{name!r} is not an engine with a {task} API")
    changes: dict[str, Any] = {task: replace(getattr(engine, task), **chosen)}
    return {**engines, name: replace(engine, **changes)}
