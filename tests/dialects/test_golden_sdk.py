"""Validates ``tests/golden`` with the vendors' SDK types: each body must be one that their SDK can send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import pytest

from tests.support.paths import GOLDEN
from tests.support.typed_shapes import find_faults

# Accepted faults: file, text of the fault, reason. An entry that is no longer needed fails.
_ONLY_NAMED: Final = "customOpts are the caller's own fields, which we pass on"
_OLDER: Final = "the SDK speaks an API version that has no samplers; ours is 2023-06-01, which has (providers.md 2)"
EXCEPTIONS: Final = (
    ("openai", r"\.x_new: is not a field", _ONLY_NAMED),
    ("openai-responses", r"\.x_new: is not a field", _ONLY_NAMED),
    ("anthropic", r"\.x_new: is not a field", _ONLY_NAMED),
    ("google", r"x_new: is not a field", _ONLY_NAMED),
    ("openai", r"\.messages\[\d\]\.name: is not a field of ChatCompletionToolMessageParam",
     "the name of a result's tool is taken all the same: 1 of 1 recorded"),
    ("anthropic", r"\.temperature: is not a field", _OLDER),
    ("anthropic", r"\.top_p: is not a field", _OLDER),
    ("anthropic", r"\.top_k: is not a field", _OLDER),
)  # fmt: skip


@cache
def load_validator(name: str) -> Callable[[dict[str, Any]], list[str]]:
    """Returns the validator of an SDK, which names the faults of a body. Imported on demand: each import takes a second."""
    if name == "google":
        return _google()
    if name == "openai":
        from openai.types.chat.completion_create_params import CompletionCreateParams as Chat

        return lambda body: find_faults(body, Chat)
    if name == "openai-responses":
        from openai.types.responses.response_create_params import ResponseCreateParams as Response

        return lambda body: find_faults(body, Response)
    from anthropic.types.message_create_params import MessageCreateParams as Messages

    return lambda body: find_faults(body, Messages)


def _google() -> Callable[[dict[str, Any]], list[str]]:
    """Validates with Google's pydantic models, which forbid unknown fields; the outer body, which has no model, is here.

    Fields have two names, of which the wire has one, so a body must be written as it was read.
    """
    from google.genai import types
    from pydantic import TypeAdapter, ValidationError

    fields: dict[str, TypeAdapter[Any]] = {
        "contents": TypeAdapter(list[types.Content]),
        "systemInstruction": TypeAdapter(types.Content),
        "tools": TypeAdapter(list[types.Tool]),
        "toolConfig": TypeAdapter(types.ToolConfig),
        "generationConfig": TypeAdapter(types.GenerationConfig),
        "serviceTier": TypeAdapter(types.ServiceTier),
    }

    def validate(body: dict[str, Any]) -> Iterator[str]:
        for name, value in body.items():
            if name not in fields:
                yield f"{name}: is not a field"
                continue
            try:
                read = fields[name].validate_python(value)
            except (ValidationError, UserWarning) as error:  # it warns of unknown enumeration values
                yield f"{name}: {error}"
                continue
            written = fields[name].dump_python(read, by_alias=True, mode="json", exclude_unset=True)
            if _normalise(written) != _normalise(value):
                yield f"{name}: is written as {written}"

    return lambda body: [*validate(body)]


def _normalise(value: Any) -> Any:
    """Normalises the two base64 alphabets, and whole numbers that are written as floats."""
    match value:
        case dict():
            return {name: _normalise(one) for name, one in value.items()}
        case list():
            return [_normalise(one) for one in value]
        case str():
            return value.replace("-", "+").replace("_", "/")
    return value


def read_bodies(name: str) -> dict[str, dict[str, Any]]:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    return {case: value["body"] for case, value in golden.items() if "body" in value}


FILES: Final = ("openai", "openai-responses", "anthropic", "google")


@pytest.mark.parametrize("name", FILES)
def test_o11_golden_requests_are_valid_for_the_vendor_sdk(name: str) -> None:
    excused = [pattern for file, pattern, _ in EXCEPTIONS if file == name]
    needed: set[str] = set()
    told: list[str] = []
    for case, body in read_bodies(name).items():
        for fault in load_validator(name)(body):
            pattern = next((pattern for pattern in excused if re.match(pattern, fault)), None)
            if pattern is None:
                told.append(f"{name}: {case}: {fault}")
            else:
                needed.add(pattern)
    assert not told, "\n".join(told)
    assert needed == {*excused}, "these exceptions are not needed any more"


BLIND: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("openai", {"model": "m", "messages": [], "max_completion_token": 5}, "max_completion_token"),
    ("openai", {"model": "m"}, "messages"),
    ("openai", {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "txt": "Hi"}]}]}, "txt"),
    ("openai", {"model": "m", "messages": [], "seed": "0"}, "seed"),
    ("openai", {"model": "m", "messages": [], "seed": True}, "seed"),
    ("openai", {"model": "m", "messages": [], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    ("openai-responses", {"model": "m", "input": [{"role": "user", "contents": "Hi"}]}, "content"),
    ("openai-responses", {"model": "m", "reasoning": {"efforts": "low"}}, "efforts"),
    ("openai-responses", {"model": "m", "include": ["everything"]}, "everything"),
    ("anthropic", {"model": "m", "max_tokens": 5, "messages": [], "stop_sequence": ["x"]}, "stop_sequence"),
    ("anthropic", {"model": "m", "messages": []}, "max_tokens"),
    ("anthropic", {"model": "m", "max_tokens": 5, "messages": [], "thinking": {"type": "adaptive", "show": 1}}, "show"),
    ("anthropic", {"model": "m", "max_tokens": 5, "messages": [], "output_config": {"effort": "huge"}}, "huge"),
    ("google", {"contents": [{"role": "user", "parts": [{"txt": "Hi"}]}]}, "txt"),
    ("google", {"contents": [], "generationConfig": {"max_output_tokens": 5}}, "generationConfig"),
    ("google", {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingLevel": "HUGE"}}}, "HUGE"),
    ("google", {"contents": [], "generation_config": {}}, "generation_config"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "named"), BLIND)
def test_the_sdk_checks_find_invalid_bodies(name: str, body: dict[str, Any], named: str) -> None:
    told = load_validator(name)(body)
    assert told and any(named in fault for fault in told), told
