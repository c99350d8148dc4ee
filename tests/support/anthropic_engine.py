"""Helpers for tests of the Anthropic engine dialect."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from llm.chat.messages import Message, Part, Text
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.chat.request import ChatRequest, Options, ToolSpec
from llm.dialects import anthropic
from llm.dialects.base import PassthroughDialect
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.wire.json_codec import Json

ENGINE = ENGINES["anthropic"]
DIALECT: PassthroughDialect = anthropic
MODEL = "claude-sonnet-4-5"


def mine(**data: Json) -> Metadata:
    return (ProviderMetadata("anthropic", "anthropic", data),)


def write_body(
    *messages: Message, model: str = MODEL, engine: Engine = ENGINE, tools: Sequence[ToolSpec] = (), **options: Any
) -> dict[str, Any]:
    request = ChatRequest(model=model, messages=messages, tools=tuple(tools), options=Options(**options))
    return dict(DIALECT.write_request(request, engine).body or {})


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


HELLO = user(Text("Hello"))
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@st.composite
def replaced_somewhere(draw: st.DrawFn, value: Any) -> Any:
    """Returns ``value`` with a random JSON value in one place."""
    value = copy.deepcopy(value)
    at = value
    while isinstance(at, dict | list) and at:
        key: Any = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 3)) == 0:
            at[key] = draw(anything)
            break
        at = inner
    return value
