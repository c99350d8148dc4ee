"""The dialect's name and its refusal of options."""

from __future__ import annotations

from typing import Final

from llm.engines.engine import Engine
from llm.errors import Unsupported

NAME: Final = "gemini"


def build_refusal(engine: Engine, name: str, reason: str) -> Unsupported:
    """Returns the error for an option or part; its sentence is the engine's label and ``reason``."""
    return Unsupported(f"{engine.label} {reason}.", param=name, engine=engine.name)
