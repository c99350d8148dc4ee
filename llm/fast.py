"""Packages that make the server faster where they are installed (``requirements-fast.txt``) and are never needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final


def _found(name: str) -> Any:
    """The module, or None."""
    try:
        return import_module(name)
    except ImportError:
        return None


uvloop: Final = _found("uvloop")
orjson: Final = _found("orjson")

USED: Final = tuple(f"{module.__name__} {module.__version__}" for module in (uvloop, orjson) if module is not None)
