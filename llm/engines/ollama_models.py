"""Models of Ollama's library by capability, for servers that do not report capabilities (before 0.6)."""

from __future__ import annotations

from typing import Final


def _globs_for(names: str) -> tuple[str, ...]:
    """Returns globs for models of these names with any tag."""
    return tuple(glob for name in names.split() for glob in (name, f"{name}:*"))


TOOLS: Final = _globs_for("""
athene-v2 aya-expanse cogito command-a command-r command-r-plus command-r7b command-r7b-arabic deepseek-r1
deepseek-v3.1 devstral devstral-2 devstral-small-2 firefunction-v2 functiongemma glm-4.7-flash gpt-oss
gpt-oss-safeguard granite3-dense granite3-moe granite3.1-dense granite3.1-moe granite3.2 granite3.2-vision granite3.3
granite4 hermes3 llama3-groq-tool-use llama3.1 llama3.2 llama3.3 llama4 magistral ministral-3 mistral mistral-large
mistral-nemo mistral-small mistral-small3.1 mistral-small3.2 mixtral nemotron nemotron-mini nemotron-3-nano olmo-3.1
phi4-mini qwen2 qwen2.5 qwen2.5-coder qwen3 qwen3-coder qwen3-next qwen3-vl qwq rnj-1 smollm2
""")
IMAGES: Final = _globs_for("""
bakllava deepseek-ocr devstral-small-2 gemma3 granite3.2-vision llama3.2-vision llama4 llava llava-llama3 llava-phi3
minicpm-v ministral-3 mistral-small3.1 mistral-small3.2 moondream qwen2.5vl qwen3-vl translategemma
""")
REASONING: Final = _globs_for("""
cogito deepseek-r1 deepseek-v3.1 glm-4.7-flash gpt-oss-safeguard gpt-oss magistral nemotron-3-nano openthinker phi
qwen3-next qwen3-vl qwen3 qwq
""")
