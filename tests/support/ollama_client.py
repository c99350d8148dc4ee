"""The dialect of Ollama clients, for tests."""

from __future__ import annotations

from llm.dialects import ollama as ollama_dialect
from llm.dialects.base import ClientDialect

DIALECT: ClientDialect = ollama_dialect
