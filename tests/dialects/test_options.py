"""Every option on every engine is written, refused by name or reported as dropped (T8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, make_dataclass
from typing import Any, Final

import pytest

from llm.chat.messages import Message, Text
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects.base import EngineRequest
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.api_choice import RESPONSES, choose_api, use_responses
from llm.engines.engine import Engine, Target
from llm.engines.records import ENGINES
from llm.errors import Unsupported
from llm.upstream.translate import write_engine_request
from tests.support.golden_cases import SUBJECTS

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
TOOL: Final = ToolSpec("f", "Does it", SCHEMA)
# Values of each option that are not the default of any engine. A switch has two values, since an engine may have one
# of them as its default.
VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "max_tokens": (5,), "temperature": (0,), "top_p": (0,), "top_k": (0,), "stop": (("x",),), "seed": (0,),
    "presence_penalty": (0.5,), "frequency_penalty": (0.5,), "reasoning": (True, False), "effort": ("low",),
    "reasoning_tokens": (2000,), "verbosity": ("low",), "format": (JsonFormat(SCHEMA),), "tool_choice": ("required",),
    "allowed_tools": (("g",),),
    "parallel_tools": (False,), "logprobs": (True,), "top_logprobs": (1,), "service_tier": ("flex",),
    "caching": (True, False), "citations": (True,), "context_tokens": (4096,), "responses_api": (True, False),
    "extra": ({"x": 1},),
}  # fmt: skip


def _models(engine: Engine) -> list[str]:
    golden = [subject for subject in SUBJECTS.values() if subject.engine == engine.name]
    named = {model for subject in golden for model in (subject.plain, *subject.thinking)}
    return sorted({engine.example_model or "m", "a-model-that-no-row-knows", *named})


def _targets() -> Iterator[tuple[str, tuple[Target, ...]]]:
    """Yields each engine with each of its APIs, with models of all kinds."""
    for name, engine in ((name, engine) for name, engine in ENGINES.items() if engine.chats):
        targets = tuple(Target(engine=engine, model=model) for model in _models(engine))
        yield name, targets
        if engine.responses is not None:
            yield f"{name} over Responses", tuple(map(use_responses, targets))


TARGETS: Final = dict(_targets())
everywhere = pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)


def write(target: Target, options: Options) -> EngineRequest:
    request = ChatRequest(
        model=target.model, messages=(Message("user", (Text("Hi"),)),), tools=(TOOL,), options=options
    )
    if target.engine.dialect != RESPONSES:  # otherwise it is reported
        target = choose_api(request, target)
    elif options.responses_api is not None:
        choose_api(request, target)
    return write_engine_request(request, target)


def is_lost(target: Target, name: str, value: Any) -> bool:
    """True if a request with the option equals one without, and the option is not reported as dropped."""
    plain = write(target, Options())
    try:
        outgoing = write(target, Options(**{name: value}))
    except Unsupported as refusal:
        assert refusal.param == name
        return False
    assert set(outgoing.dropped) <= {name}
    return outgoing == plain


def test_every_option_and_every_engine_is_tested() -> None:
    assert set(VALUES) == {field.name for field in fields(Options)}
    assert all(value != getattr(Options(), name) for name, values in VALUES.items() for value in values)
    engines = [target.engine for targets in TARGETS.values() for target in targets]
    assert {engine.name for engine in engines} == {name for name, engine in ENGINES.items() if engine.chats}
    assert {engine.dialect for engine in engines} == set(ENGINE_DIALECTS)


@pytest.mark.parametrize("name", VALUES)
@everywhere
def test_t8_every_option_is_written_refused_or_reported(targets: tuple[Target, ...], name: str) -> None:
    for target in targets:
        assert not all(is_lost(target, name, value) for value in VALUES[name]), target.model


# --- an option that there will be ---

NEW: Final[list[tuple[Any, Any]]] = [(None, "x"), (None, 0), (None, False), (False, True), ((), ("x",)), ("", "x")]


@pytest.mark.parametrize(("unset", "value"), NEW)
@everywhere
def test_t8_an_option_that_no_dialect_writes_is_refused_by_every_engine(
    targets: tuple[Target, ...], unset: Any, value: Any
) -> None:
    more: Any = make_dataclass(
        "More", [("invented", Any, unset)], bases=(Options,), frozen=True, slots=True, kw_only=True
    )
    for target in targets:
        assert write(target, more(invented=unset)) == write(target, Options())
        with pytest.raises(Unsupported) as refusal:
            write(target, more(invented=value))
        assert (refusal.value.param, refusal.value.engine) == ("invented", target.engine.name)
