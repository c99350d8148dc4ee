"""Requests of Anthropic clients, for tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from llm.dialects import anthropic
from llm.dialects.base import ClientDialect
from llm.engines.records import ENGINES
from tests.support import paths

SAMPLES = paths.SAMPLES / "anthropic"
AGENT: dict[str, Any] = json.loads((SAMPLES / "agent-request.json").read_text())
ENGINE = ENGINES["anthropic"]
CLIENT: ClientDialect = anthropic
names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=9).map(lambda name: f"x_{name}")
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9) | st.lists(st.integers(0, 9))
extras = st.dictionaries(names, values, max_size=2)


def with_extras(draw: st.DrawFn, wire: Any) -> Any:
    """Adds unknown fields to every object that has a type or a role."""
    if isinstance(wire, list):
        return [with_extras(draw, item) for item in wire]
    if not isinstance(wire, dict):
        return wire
    inner = {name: with_extras(draw, value) for name, value in wire.items()}
    known = "role" in wire or wire.get("type") in ("text", "image", "document", "tool_use", "tool_result", "thinking")
    return {**inner, **(draw(extras) if known or "input_schema" in wire or "model" in wire else {})}
