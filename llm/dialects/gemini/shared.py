"""What its modules share."""

from __future__ import annotations

from typing import Final

from llm.engines.engine import Engine
from llm.errors import Unsupported

NAME: Final = "gemini"


def refusal(engine: Engine, name: str, why: str) -> Unsupported:
    return Unsupported(f"{engine.label} {why}.", param=name, engine=engine.name)
