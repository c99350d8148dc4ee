"""Records of the providers that serve the models of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from llm.engines import profiles, task_support
from llm.engines.capabilities import ModelRules
from llm.engines.engine import CacheMarks, Engine, Quirks, ResponsesSupport, WebSupport
from llm.engines.media_limits import MediaLimits
from llm.engines.records.model_makers import O_SERIES, OPENAI_CACHE_MARKS, OPENAI_RESPONSES, OPENAI_WEB

_PDF: Final = ("application/pdf",)
_AUDIO: Final = ("audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3")
_MB: Final = 1024 * 1024
_NO_FILES: Final = MediaLimits(documents=(), audio=(), video=())


GROQ: Final = Engine(
    name="groq",
    label="Groq",
    key_starts=("gsk_",),
    dialect="openai-chat",
    base_url="https://api.groq.com/openai/v1",
    example_model="openai/gpt-oss-20b",
    docs="https://console.groq.com/docs/api-reference",
    caching="automatic",
    # 4 MB as base64.
    media_limits=MediaLimits(documents=(), audio=(), video=(), max_image_bytes=3 * _MB, max_images=5),
    responses=ResponsesSupport(),
    # https://console.groq.com/docs/browser-search and /docs/compound/built-in-tools; the systems take no functions.
    web=WebSupport(
        search=("openai/gpt-oss-*", "groq/compound*", "compound*"),
        fetch=("openai/gpt-oss-*", "groq/compound*", "compound*"),
        alone=("groq/compound*", "compound*"),
        forms={"openai/gpt-oss-*": "browser_search", "*compound*": "compound"},
        own_form_only=True,
        can_force=False,
    ),
    speech=task_support.GROQ_SPEECH,
    transcription=task_support.GROQ_TRANSCRIPTION,
    keeps=frozenset({"files", "batches"}),
    quirks=Quirks(
        tool_name_in_results=False,
        max_tokens_field="max_completion_tokens",
        echo_reasoning="with_tools",
        reasoning_field="reasoning",
        unsupported_options=frozenset({"top_k", "logprobs", "top_logprobs", "verbosity"}),
        max_stop_sequences=4,
    ),
    models=ModelRules(
        listed_capabilities=frozenset({"tools", "images", "reasoning", "json_schema"}),
        profiles=profiles.GROQ,
        kinds=(
            ("*whisper*", "stt"),
            ("*tts*", "tts"),
            ("*orpheus*", "tts"),
            ("*prompt-guard*", "hidden"),
            ("*llama-guard*", "hidden"),
        ),
        images=("meta-llama/llama-4-*",),
        reasoning=("openai/gpt-oss*", "qwen/qwen3*"),
    ),
)

CEREBRAS: Final = Engine(
    name="cerebras",
    label="Cerebras",
    key_starts=("csk-",),
    dialect="openai-chat",
    base_url="https://api.cerebras.ai/v1",
    example_model="gpt-oss-120b",
    docs="https://inference-docs.cerebras.ai/api-reference/chat-completions",
    media_limits=_NO_FILES,
    completions=task_support.PLAIN_COMPLETIONS,
    quirks=Quirks(
        max_tokens_field="max_completion_tokens",
        echo_reasoning="with_tools",
        shared_fields=frozenset({"prompt_cache_key", "user"}),
        reasoning_field="reasoning",
        flat_content=True,
        think_tags=True,
        unsupported_options=frozenset({"top_k", "verbosity"}),
    ),
    models=ModelRules(profiles=profiles.CEREBRAS, reasoning=("gpt-oss*", "qwen-3*", "zai-glm*")),
)

OPENROUTER: Final = Engine(
    name="openrouter",
    label="OpenRouter",
    key_starts=("sk-or-",),
    dialect="openai-chat",
    base_url="https://openrouter.ai/api/v1",
    example_model="openai/gpt-5.4-mini",
    docs="https://openrouter.ai/docs/api-reference/chat-completion",
    caching="automatic",
    cache_marks=CacheMarks(field="cache_control"),  # turned into the words of each model's host
    media_limits=MediaLimits(documents=_PDF),
    responses=ResponsesSupport(),
    # https://openrouter.ai/docs/guides/features/server-tools/web-search, recorded; for any model.
    web=WebSupport(
        fetch=("*",),
        forms={"*": "openrouter"},
        settings=frozenset(
            {
                "allowed_domains",
                "blocked_domains",
                "user_location",
                "max_uses",
                "search_context_size",
            }
        ),
        can_force=False,
    ),
    speech=task_support.OPENROUTER_SPEECH,
    transcription=task_support.OPENROUTER_TRANSCRIPTION,
    # Hosts ignore parameters that they do not know, unless a request sets this field (T7).
    rerank=task_support.RERANK,
    completions=task_support.PLAIN_COMPLETIONS,
    quirks=Quirks(
        echo_reasoning="with_tools",
        reasoning_field="reasoning",
        json_schema_fields={"provider": {"require_parameters": True}},
    ),
    models=ModelRules(
        listed_capabilities=frozenset({"tools", "images", "documents", "reasoning", "json_schema"}),
        profiles=profiles.OPENROUTER,
    ),
)

TOGETHER: Final = Engine(
    name="together",
    label="Together",
    key_starts=("tgp_",),
    dialect="openai-chat",
    base_url="https://api.together.xyz/v1",
    example_model="openai/gpt-oss-20b",
    docs="https://docs.together.ai/reference/chat-completions-1",
    media_limits=_NO_FILES,
    image_generation=task_support.OPENAI_IMAGES,
    speech=task_support.TOGETHER_SPEECH,
    transcription=task_support.TOGETHER_TRANSCRIPTION,
    rerank=task_support.TOGETHER_RERANK,
    completions=task_support.PLAIN_COMPLETIONS,
    quirks=Quirks(
        echo_reasoning="with_tools",
        reasoning_field="reasoning",
        think_tags=True,
        logprobs_is_number=True,
        unsupported_options=frozenset({"verbosity"}),
    ),
    models=ModelRules(
        profiles=profiles.TOGETHER,
        images=("*vision*", "*-VL*", "*llama-4*", "*Llama-4*", "*gemma-3*", "*Kimi-K2.5*", "*Qwen3.5*"),
        reasoning=("*DeepSeek-R1*", "*gpt-oss*", "*Thinking*", "*Qwen3*", "*GLM*", "*Kimi*"),
    ),
)

HUGGINGFACE: Final = Engine(
    name="huggingface",
    label="Hugging Face",
    key_starts=("hf_",),
    dialect="openai-chat",
    image_tool="text-to-image",
    base_url="https://router.huggingface.co/v1",
    example_model="openai/gpt-oss-20b",
    docs="https://huggingface.co/docs/inference-providers/tasks/chat-completion",
    media_limits=_NO_FILES,
    quirks=Quirks(think_tags=True),
    models=ModelRules(
        listed_capabilities=frozenset({"tools", "images", "json_schema"}),
        reasoning=("*R1*", "*gpt-oss*", "*Thinking*", "*Qwen3*", "*GLM*", "*Kimi*", "*MiniMax*"),
    ),
)

AZURE: Final = Engine(
    name="azure",
    label="Azure",
    dialect="openai-chat",
    path="/openai/v1",
    docs="https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    caching="automatic",
    cache_marks=OPENAI_CACHE_MARKS,
    media_limits=MediaLimits(documents=_PDF, audio=_AUDIO, video=()),
    responses=OPENAI_RESPONSES,
    web=replace(OPENAI_WEB, forms={}),  # https://learn.microsoft.com/azure/foundry/openai/how-to/web-search
    image_generation=task_support.OPENAI_IMAGES,
    speech=task_support.CUSTOM_SPEECH,
    transcription=task_support.CUSTOM_TRANSCRIPTION,
    auth="api-key: {key}",
    completions=task_support.COMPLETIONS,
    keeps=frozenset({"files", "uploads", "batches"}),
    quirks=Quirks(
        custom_tools=True,
        call_id_length=40,
        max_tokens_field="max_completion_tokens",
        refuses_max_tokens=profiles.ONLY_MAX_COMPLETION_TOKENS,
        accepts_allowed_tools=True,
        unsupported_options=frozenset({"top_k", "service_tier"}),
        max_stop_sequences=4,
        max_top_logprobs=20,
    ),
    models=ModelRules(
        profiles=profiles.AZURE,
        images=("*gpt-4o*", "*gpt-4.1*", "*gpt-[5-9]*", *O_SERIES),
        reasoning=(*O_SERIES, "*gpt-[5-9]*"),
        # The service lists its catalogue, not the deployments; AZURE_MODELS names those.
        fixed_models=("default",),
    ),
)
