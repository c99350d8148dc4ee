"""Tables of the dialects by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from llm.dialects import anthropic, gemini, native, ollama, openai_chat, openai_responses
from llm.dialects.base import ClientDialect, EngineDialect, PassthroughDialect

# Wire formats of engines.
ENGINE_DIALECTS: Final[Mapping[str, EngineDialect]] = {
    d.NAME: d for d in (openai_chat, openai_responses, anthropic, gemini, ollama)
}
# Wire formats of clients.
CLIENT_DIALECTS: Final[Mapping[str, ClientDialect]] = {
    d.NAME: d for d in (native, openai_chat, openai_responses, anthropic, ollama)
}
# Wire formats of both: a request can pass to an engine of the same dialect without translation.
PASSTHROUGH_DIALECTS: Final[Mapping[str, PassthroughDialect]] = {
    d.NAME: d for d in (openai_chat, openai_responses, anthropic, ollama)
}
# Wire formats whose model lists report facts about options: whether the patterns do not know a model id.
NEW_MODELS: Final[Mapping[str, Callable[[str], bool]]] = {d.NAME: d.is_new_model for d in (anthropic, gemini)}
