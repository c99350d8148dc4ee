"""Records of the engines that run on the owner's machine, and of the built-in demo engine."""

from __future__ import annotations

from typing import Final

from llm.engines import ollama_models, task_support
from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine, Quirks
from llm.engines.media_limits import MediaLimits

_NO_FILES: Final = MediaLimits(documents=(), audio=(), video=())


OLLAMA: Final = Engine(
    name="ollama",
    label="Ollama",
    dialect="ollama",
    base_url="http://127.0.0.1:11434",
    docs="https://github.com/ollama/ollama/blob/main/docs/api.md",
    caching="automatic",
    media_limits=_NO_FILES,
    needs_key=False,
    local=True,
    completions=task_support.OLLAMA_COMPLETIONS,
    quirks=Quirks(unsigned_reasoning=True),
    # Used only for servers that do not report capabilities (before 0.6).
    models=ModelRules(
        listed_capabilities=frozenset({"tools", "images", "reasoning"}),
        tools=ollama_models.TOOLS,
        images=ollama_models.IMAGES,
        reasoning=ollama_models.REASONING,
    ),
)

LMSTUDIO: Final = Engine(
    name="lmstudio",
    label="LM Studio",
    dialect="openai-chat",
    base_url="http://localhost:1234/v1",
    docs="https://lmstudio.ai/docs/app/api/endpoints/openai",
    caching="automatic",
    media_limits=_NO_FILES,
    completions=task_support.COMPLETIONS,
    needs_key=False,
    local=True,
    quirks=Quirks(echo_reasoning="with_tools", flat_content=True, think_tags=True),
    models=ModelRules(
        kinds=(("*embed*", "embedding"),),
        images=("*llava*", "*vision*", "*-vl*", "*2.5vl*", "*minicpm-v*", "*moondream*", "*gemma-3*"),
        reasoning=("*qwq*", "*thinking*", "*reasoning*", "*cogito*", "*gpt-oss*", "*deepseek-r1*", "*qwen3*"),
    ),
)

DEMO: Final = Engine(
    name="demo",
    label="Demo (answers made up by this server)",
    dialect="openai-chat",
    base_url="demo:",
    example_model="demo-chat",
    docs="llm/transport/demo/script.py",
    needs_key=False,
    models=ModelRules(reasoning=("demo-reasoning",)),
)
