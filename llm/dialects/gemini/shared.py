"""The dialect's name and its refusal of options."""

from __future__ import annotations

from typing import Final

from llm.engines.engine import Engine
from llm.errors import Unsupported

NAME: Final = "gemini"


def refusal(engine: Engine, name: str, why: str) -> Unsupported:
    """Returns the error for an option or part; its sentence is the engine's label and ``reason``."""
    return Unsupported(f"{engine.label} {why}.", param=name, engine=engine.name)
