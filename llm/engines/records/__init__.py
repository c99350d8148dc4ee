"""One record for each engine. A new OpenAI-compatible provider is one more record, or a few variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.engines.engine import Engine
from llm.engines.records import local_engines, model_hosts, model_makers, rerankers

# In the order in which engines are listed.
RECORDS: Final = (
    model_makers.OPENAI,
    model_makers.ANTHROPIC,
    model_makers.GOOGLE,
    local_engines.OLLAMA,
    model_hosts.GROQ,
    model_makers.XAI,
    model_hosts.CEREBRAS,
    model_makers.DEEPSEEK,
    model_hosts.OPENROUTER,
    model_hosts.TOGETHER,
    local_engines.LMSTUDIO,
    model_hosts.HUGGINGFACE,
    model_makers.META,
    model_makers.MISTRALAI,
    model_hosts.AZURE,
    rerankers.COHERE,
    rerankers.JINA,
    rerankers.VOYAGE,
    local_engines.DEMO,
)

ENGINES: Final[Mapping[str, Engine]] = {engine.name: engine for engine in RECORDS}
