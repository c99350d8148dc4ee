"""One record for each engine. A new OpenAI-compatible provider is one more record, or a few variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm.engines import ollama_models, profiles, task_support
from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine, Quirks, Responses
from llm.engines.media_limits import Takes

_PDF: Final = ("application/pdf",)
_AUDIO: Final = ("audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3")
_MB: Final = 1024 * 1024
_NO_FILES: Final = Takes(documents=(), audio=(), video=())
_O_SERIES: Final = ("o1*", "o3*", "o4*")

# Since 5.6, models accept function tools together with reasoning only in the Responses API.
_OPENAI_RESPONSES: Final = Responses(
    always=("o1-pro*", "o3-pro*", "gpt-[5-9]*-pro*", "*codex*", "*-deep-research*", "computer-use*"),
    with_tools=("gpt-5.[6-9]*", "gpt-[6-9]*"),
)

RECORDS: Final = (
    Engine(
        name="openai",
        label="OpenAI",
        dialect="openai-chat",
        base_url="https://api.openai.com/v1",
        example="gpt-5.4-mini",
        docs="https://platform.openai.com/docs/api-reference/chat",
        caching="automatic",
        takes=Takes(documents=_PDF, audio=_AUDIO, video=()),
        responses=_OPENAI_RESPONSES,
        counts=True,
        images=task_support.OPENAI_IMAGES,
        image_tool="generations",
        speech=task_support.OPENAI_SPEECH,
        transcription=task_support.OPENAI_TRANSCRIPTION,
        quirks=Quirks(
            max_tokens_field="max_completion_tokens",
            refuses=frozenset({"top_k"}),
            most_stops=4,
            most_logprobs=20,
        ),
        models=ModelRules(
            families=profiles.OPENAI,
            kinds=(
                ("*-deep-research*", "chat"),  # before the rule for "search"
                ("*davinci*", "hidden"),
                ("*babbage*", "hidden"),
                ("*moderation*", "hidden"),
                ("*realtime*", "realtime"),
                ("*transcribe*", "stt"),
                ("*whisper*", "stt"),
                ("*tts*", "tts"),
                ("*audio*", "hidden"),
                ("*search*", "hidden"),
                ("dall-e-*", "image"),
                ("*image-*", "image"),
                ("*sora*", "video"),
                ("text-embedding-*", "embedding"),
                ("*computer-use*", "computer"),
            ),
            images=("gpt-4o*", "chatgpt-4o*", "gpt-4.1*", "gpt-4-turbo*", "gpt-4.5*", "gpt-[5-9]*", *_O_SERIES),
            reasoning=(*_O_SERIES, "gpt-[5-9]*"),
            not_for={
                "tools": ("*-chat*", "chatgpt*", "o1-mini*"),
                "images": ("o1-mini*", "o3-mini*"),
                "reasoning": ("*-chat*",),
            },
        ),
    ),
    Engine(
        name="anthropic",
        label="Anthropic",
        dialect="anthropic",
        base_url="https://api.anthropic.com",
        example="claude-haiku-4-5",
        docs="https://docs.anthropic.com/en/api/messages",
        counts=True,
        caching="on request",
        takes=Takes(documents=_PDF, audio=(), video=(), image_bytes=5 * _MB, document_bytes=32 * _MB, most_images=100),
        auth="x-api-key: {key}",
        headers={"anthropic-version": "2023-06-01"},
        models=ModelRules(
            listed=frozenset({"images", "documents", "reasoning", "json_schema", "citations"}),
            images=("*",),
            reasoning=(
                "claude-3-7-*",
                "claude-opus-[4-9]*",
                "claude-sonnet-[4-9]*",
                "claude-haiku-[4-9]*",
                "claude-fable-*",
            ),
        ),
    ),
    Engine(
        name="google",
        label="Google",
        dialect="gemini",
        base_url="https://generativelanguage.googleapis.com",
        example="gemini-3.5-flash",
        docs="https://ai.google.dev/api/generate-content",
        counts=True,
        caching="automatic",
        takes=Takes(images=("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"), documents=_PDF),
        auth="x-goog-api-key: {key}",
        models=ModelRules(
            listed=frozenset({"reasoning"}),
            kinds=(
                ("*dialog*", "realtime"),
                ("*nano-banana*", "image"),
                ("*-image*", "image"),
                ("*tts*", "tts"),
                ("*computer-use*", "computer"),
            ),
            images=("gemini-[1-9]*", "gemini-*latest", "gemma-3*", "gemma-4*"),
            reasoning=("gemini-2.5*", "gemini-[3-9]*", "*thinking*", "gemini-*latest"),
            not_for={"tools": ("*gemma-3*", "*dialog*", "*tts"), "images": ("gemma-3-1b*", "*tts")},
        ),
    ),
    Engine(
        name="ollama",
        label="Ollama",
        dialect="ollama",
        base_url="http://127.0.0.1:11434",
        docs="https://github.com/ollama/ollama/blob/main/docs/api.md",
        caching="automatic",
        takes=_NO_FILES,
        needs_key=False,
        local=True,
        # Used only for servers that do not report capabilities (before 0.6).
        models=ModelRules(
            listed=frozenset({"tools", "images", "reasoning"}),
            tools=ollama_models.TOOLS,
            images=ollama_models.IMAGES,
            reasoning=ollama_models.REASONING,
        ),
    ),
    Engine(
        name="groq",
        label="Groq",
        dialect="openai-chat",
        base_url="https://api.groq.com/openai/v1",
        example="openai/gpt-oss-20b",
        docs="https://console.groq.com/docs/api-reference",
        caching="automatic",
        # 4 MB as base64.
        takes=Takes(documents=(), audio=(), video=(), image_bytes=3 * _MB, most_images=5),
        responses=Responses(),
        speech=task_support.GROQ_SPEECH,
        transcription=task_support.GROQ_TRANSCRIPTION,
        quirks=Quirks(
            named_results=False,
            max_tokens_field="max_completion_tokens",
            reasoning_field="reasoning",
            refuses=frozenset({"top_k", "logprobs", "top_logprobs", "verbosity"}),
            most_stops=4,
        ),
        models=ModelRules(
            listed=frozenset({"tools", "images", "reasoning", "json_schema"}),
            families=profiles.GROQ,
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
    ),
    Engine(
        name="xai",
        label="xAI",
        dialect="openai-chat",
        base_url="https://api.x.ai/v1",
        example="grok-4.5",
        images=task_support.OPENAI_IMAGES,
        docs="https://docs.x.ai/docs/api-reference",
        caching="automatic",
        takes=Takes(images=("image/png", "image/jpeg"), documents=(), audio=(), video=(), image_bytes=20 * _MB),
        responses=Responses(),
        quirks=Quirks(
            max_tokens_field="max_completion_tokens",
            reasoning_in_output=False,
            refuses=frozenset({"top_k", "verbosity"}),
            most_logprobs=8,
        ),
        models=ModelRules(
            families=profiles.XAI,
            kinds=(("*image*", "image"), ("*video*", "video")),
            images=("*vision*", "grok-[4-9]*"),
            reasoning=("grok-3-mini*", "grok-[4-9]*"),
            not_for={"tools": ("*vision*",), "reasoning": ("*non-reasoning*",)},
        ),
    ),
    Engine(
        name="cerebras",
        label="Cerebras",
        dialect="openai-chat",
        base_url="https://api.cerebras.ai/v1",
        example="gpt-oss-120b",
        docs="https://inference-docs.cerebras.ai/api-reference/chat-completions",
        takes=_NO_FILES,
        quirks=Quirks(
            max_tokens_field="max_completion_tokens",
            reasoning_field="reasoning",
            flat_content=True,
            think_tags=True,
            refuses=frozenset({"top_k", "verbosity"}),
        ),
        models=ModelRules(families=profiles.CEREBRAS, reasoning=("gpt-oss*", "qwen-3*", "zai-glm*")),
    ),
    Engine(
        name="deepseek",
        label="DeepSeek",
        dialect="openai-chat",
        base_url="https://api.deepseek.com/v1",
        example="deepseek-flash",
        docs="https://api-docs.deepseek.com/api/create-chat-completion",
        caching="automatic",
        takes=Takes(images=(), documents=(), audio=(), video=()),
        responses=Responses(),
        quirks=Quirks(
            echo_reasoning="with_tools",
            json_schema=False,
            refuses=frozenset({"top_k", "verbosity", "service_tier"}),
        ),
        models=ModelRules(families=profiles.DEEPSEEK, reasoning=("*reason*", "deepseek-v[4-9]*", "deepseek-flash")),
    ),
    Engine(
        name="openrouter",
        label="OpenRouter",
        dialect="openai-chat",
        base_url="https://openrouter.ai/api/v1",
        example="openai/gpt-5.4-mini",
        docs="https://openrouter.ai/docs/api-reference/chat-completion",
        caching="automatic",
        takes=Takes(documents=_PDF),
        responses=Responses(),
        speech=task_support.OPENROUTER_SPEECH,
        transcription=task_support.OPENROUTER_TRANSCRIPTION,
        # Hosts ignore parameters that they do not know, unless a request sets this field (T7).
        quirks=Quirks(reasoning_field="reasoning", schema_fields={"provider": {"require_parameters": True}}),
        models=ModelRules(
            listed=frozenset({"tools", "images", "documents", "reasoning", "json_schema"}), families=profiles.OPENROUTER
        ),
    ),
    Engine(
        name="together",
        label="Together",
        dialect="openai-chat",
        base_url="https://api.together.xyz/v1",
        example="openai/gpt-oss-20b",
        docs="https://docs.together.ai/reference/chat-completions-1",
        takes=_NO_FILES,
        images=task_support.OPENAI_IMAGES,
        speech=task_support.TOGETHER_SPEECH,
        transcription=task_support.TOGETHER_TRANSCRIPTION,
        quirks=Quirks(
            reasoning_field="reasoning", think_tags=True, logprobs_count=True, refuses=frozenset({"verbosity"})
        ),
        models=ModelRules(
            families=profiles.TOGETHER,
            images=("*vision*", "*-VL*", "*llama-4*", "*Llama-4*", "*gemma-3*", "*Kimi-K2.5*", "*Qwen3.5*"),
            reasoning=("*DeepSeek-R1*", "*gpt-oss*", "*Thinking*", "*Qwen3*", "*GLM*", "*Kimi*"),
        ),
    ),
    Engine(
        name="lmstudio",
        label="LM Studio",
        dialect="openai-chat",
        base_url="http://localhost:1234/v1",
        docs="https://lmstudio.ai/docs/app/api/endpoints/openai",
        caching="automatic",
        takes=_NO_FILES,
        responses=Responses(),
        needs_key=False,
        local=True,
        quirks=Quirks(think_tags=True),
        models=ModelRules(
            kinds=(("*embed*", "embedding"),),
            images=("*llava*", "*vision*", "*-vl*", "*2.5vl*", "*minicpm-v*", "*moondream*", "*gemma-3*"),
            reasoning=("*qwq*", "*thinking*", "*reasoning*", "*cogito*", "*gpt-oss*", "*deepseek-r1*", "*qwen3*"),
        ),
    ),
    Engine(
        name="huggingface",
        label="Hugging Face",
        dialect="openai-chat",
        image_tool="text-to-image",
        base_url="https://router.huggingface.co/v1",
        example="openai/gpt-oss-20b",
        docs="https://huggingface.co/docs/inference-providers/tasks/chat-completion",
        takes=_NO_FILES,
        responses=Responses(),
        quirks=Quirks(think_tags=True),
        models=ModelRules(
            listed=frozenset({"tools", "images", "json_schema"}),
            reasoning=("*R1*", "*gpt-oss*", "*Thinking*", "*Qwen3*", "*GLM*", "*Kimi*", "*MiniMax*"),
        ),
    ),
    Engine(
        name="meta",
        label="Meta",
        dialect="openai-chat",
        base_url="https://api.meta.ai/v1",
        example="muse-spark-1.3",
        docs="https://ai.meta.com/docs/model-api",
        takes=_NO_FILES,
        quirks=Quirks(max_tokens_field="max_completion_tokens", forced_tools=False, barred_tools=False),
        models=ModelRules(families=profiles.META, images=("muse*", "*Llama-4-*"), reasoning=("muse*",)),
    ),
    Engine(
        name="mistralai",
        label="MistralAI",
        dialect="openai-chat",
        base_url="https://api.mistral.ai",
        path="/v1",
        example="mistral-small-latest",
        docs="https://docs.mistral.ai/api",
        takes=Takes(audio=_AUDIO, video=()),  # documents: many types, which it converts itself
        speech=task_support.MISTRAL_SPEECH,
        transcription=task_support.MISTRAL_TRANSCRIPTION,
        quirks=Quirks(
            seed_field="random_seed",
            documents="document_url",
            usage_in_stream=False,  # it always reports usage: 21 of 21 recorded streams without the option
            refuses=frozenset({"top_k", "verbosity", "service_tier"}),
        ),
        models=ModelRules(
            listed=frozenset({"tools", "images"}),
            families=profiles.MISTRAL,
            kinds=(
                ("*embed*", "embedding"),
                ("*moderation*", "hidden"),
                ("*ocr*", "hidden"),
                ("*transcribe*", "stt"),
                ("voxtral*tts*", "tts"),
            ),
            reasoning=("*magistral*",),
        ),
    ),
    Engine(
        name="azure",
        label="Azure",
        dialect="openai-chat",
        path="/openai/v1",
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        caching="automatic",
        takes=Takes(documents=_PDF, audio=_AUDIO, video=()),
        responses=_OPENAI_RESPONSES,
        images=task_support.OPENAI_IMAGES,
        speech=task_support.NAMED_SPEECH,
        transcription=task_support.NAMED_TRANSCRIPTION,
        auth="api-key: {key}",
        quirks=Quirks(
            max_tokens_field="max_completion_tokens",
            refuses=frozenset({"top_k", "service_tier"}),
            most_stops=4,
            most_logprobs=20,
        ),
        models=ModelRules(
            families=profiles.AZURE,
            images=("*gpt-4o*", "*gpt-4.1*", "*gpt-[5-9]*", *_O_SERIES),
            reasoning=(*_O_SERIES, "*gpt-[5-9]*"),
            # The service lists its catalogue, not the deployments; AZURE_MODELS names those.
            fixed=("default",),
        ),
    ),
    Engine(
        name="demo",
        label="Demo (answers made up by this server)",
        dialect="openai-chat",
        base_url="demo:",
        example="demo-chat",
        docs="llm/transport/demo.py",
        needs_key=False,
        models=ModelRules(reasoning=("demo-reasoning",)),
    ),
)

ENGINES: Final[Mapping[str, Engine]] = {engine.name: engine for engine in RECORDS}
