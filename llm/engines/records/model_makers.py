"""Records of the providers that serve the models they make."""

from __future__ import annotations

from typing import Final

from llm.engines import profiles, task_support
from llm.engines.capabilities import ModelRules
from llm.engines.engine import CacheMarks, Engine, Quirks, ResponsesSupport, WebSupport
from llm.engines.media_limits import MediaLimits

_PDF: Final = ("application/pdf",)
_AUDIO: Final = ("audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3")
_MB: Final = 1024 * 1024
_NO_FILES: Final = MediaLimits(documents=(), audio=(), video=())
O_SERIES: Final = ("o1*", "o3*", "o4*")

# https://platform.openai.com/docs/guides/prompt-caching: without a mark, only the end of the conversation is cached.
OPENAI_CACHE_MARKS: Final = CacheMarks(field="prompt_cache_breakpoint", models=("*gpt-5.[6-9]*", "*gpt-[6-9]*"))
# Since 5.6, models accept function tools together with reasoning only in the Responses API.
OPENAI_RESPONSES: Final = ResponsesSupport(
    keeps_answers=True,
    # The package ``openai`` knows these ids only for the Responses API.
    required=(
        "o1-pro*",
        "o3-pro*",
        "gpt-[5-9]*-pro*",
        "*codex*",
        "*-deep-research*",
        "computer-use*",
        "*-cyber*",
        "gpt-daybreak*",
        "*rosalind*",
        "gpt-6.2-astra-law*",
    ),
    required_with_tools=("gpt-5.[6-9]*", "gpt-[6-9]*"),
    # Measured by BerriAI/litellm-docs#1173 and genkit-ai/genkit-dart#423; not known of later models.
    required_with_max_effort=("gpt-6-astra*",),
    # "For models like gpt-5.3-codex and beyond" (the package ``openai``, ResponseOutputMessage.phase).
    phases=("gpt-5.3-codex*", "gpt-5.[4-9]*", "gpt-[6-9]*"),
)

# https://platform.openai.com/docs/guides/tools-web-search: the tool opens pages too. The search models of Chat
# Completions search always.
OPENAI_WEB: Final = WebSupport(
    fetch=("*",),
    responses=True,
    forms={"*-search-*": "web_search_options"},
    settings=frozenset({"allowed_domains", "user_location", "search_context_size"}),
    lists_sources=True,
)


OPENAI: Final = Engine(
    name="openai",
    label="OpenAI",
    key_starts=(
        "sk-",
        "sk-proj-",
    ),
    dialect="openai-chat",
    base_url="https://api.openai.com/v1",
    example_model="gpt-5.4-mini",
    docs="https://platform.openai.com/docs/api-reference/chat",
    caching="automatic",
    cache_marks=OPENAI_CACHE_MARKS,
    media_limits=MediaLimits(documents=_PDF, audio=_AUDIO, video=()),
    responses=OPENAI_RESPONSES,
    web=OPENAI_WEB,
    counts_tokens=True,
    image_generation=task_support.OPENAI_IMAGES,
    image_tool="generations",
    speech=task_support.OPENAI_SPEECH,
    transcription=task_support.OPENAI_TRANSCRIPTION,
    moderates=True,
    completions=task_support.COMPLETIONS,
    keeps=frozenset({"files", "uploads", "batches"}),
    quirks=Quirks(
        custom_tools=True,
        call_id_length=40,
        max_tokens_field="max_completion_tokens",
        refuses_max_tokens=profiles.ONLY_MAX_COMPLETION_TOKENS,
        accepts_allowed_tools=True,
        unsupported_options=frozenset({"top_k"}),
        max_stop_sequences=4,
        max_top_logprobs=20,
    ),
    models=ModelRules(
        profiles=profiles.OPENAI,
        kinds=(
            ("*research*", "chat"),  # before the rule for "search"
            ("*davinci*", "hidden"),
            ("*babbage*", "hidden"),
            ("*moderation*", "hidden"),
            ("*realtime*", "realtime"),
            ("*transcribe*", "stt"),
            ("gpt-live*", "realtime"),
            ("*-translate*", "realtime"),
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
        images=("gpt-4o*", "chatgpt-4o*", "gpt-4.1*", "gpt-4-turbo*", "gpt-4.5*", "gpt-[5-9]*", *O_SERIES),
        reasoning=(*O_SERIES, "gpt-[5-9]*"),
        exceptions={
            "tools": ("*-chat*", "chatgpt*", "o1-mini*"),
            "images": ("o1-mini*", "o3-mini*"),
            "reasoning": ("*-chat*",),
        },
    ),
)

ANTHROPIC: Final = Engine(
    name="anthropic",
    label="Anthropic",
    key_starts=("sk-ant-",),
    dialect="anthropic",
    base_url="https://api.anthropic.com",
    example_model="claude-haiku-4-5",
    docs="https://docs.anthropic.com/en/api/messages",
    keeps=frozenset({"files", "batches"}),
    counts_tokens=True,
    caching="on request",
    media_limits=MediaLimits(
        documents=_PDF, audio=(), video=(), max_image_bytes=5 * _MB, max_document_bytes=32 * _MB, max_images=100
    ),
    auth="x-api-key: {key}",
    web=WebSupport(
        fetch=("*",), settings=frozenset({"allowed_domains", "blocked_domains", "user_location", "max_uses"})
    ),
    headers={"anthropic-version": "2023-06-01"},
    models=ModelRules(
        listed_capabilities=frozenset({"images", "documents", "reasoning", "json_schema", "citations"}),
        images=("*",),
        reasoning=(
            "claude-3-7-*",
            "claude-opus-[4-9]*",
            "claude-sonnet-[4-9]*",
            "claude-haiku-[4-9]*",
            "claude-fable-*",
        ),
    ),
)

GOOGLE: Final = Engine(
    name="google",
    label="Google",
    key_starts=("AIza",),
    dialect="gemini",
    base_url="https://generativelanguage.googleapis.com",
    example_model="gemini-3.5-flash",
    docs="https://ai.google.dev/api/generate-content",
    counts_tokens=True,
    caching="automatic",
    media_limits=MediaLimits(
        images=("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"), documents=_PDF
    ),
    auth="x-goog-api-key: {key}",
    # https://ai.google.dev/gemini-api/docs/tool-combination: beside functions since Gemini 3.
    web=WebSupport(search=("gemini-*",), fetch=("gemini-*",), alone=("gemini-1*", "gemini-2*"), can_force=False),
    models=ModelRules(
        listed_capabilities=frozenset({"reasoning"}),
        kinds=(
            ("*dialog*", "realtime"),
            ("*-live-*", "realtime"),
            ("*native-audio*", "realtime"),
            ("*transcribe*", "stt"),
            ("*nano-banana*", "image"),
            ("*-image*", "image"),
            ("*tts*", "tts"),
            ("*-omni-*", "video"),
            ("lyria*", "other"),  # music
            ("deep-research*", "other"),  # agents of the Interactions API
            ("antigravity*", "other"),
            ("*computer-use*", "computer"),
        ),
        images=("gemini-[1-9]*", "gemini-*latest", "gemma-3*", "gemma-4*"),
        reasoning=("gemini-2.5*", "gemini-[3-9]*", "*thinking*", "gemini-*latest"),
        exceptions={"tools": ("*gemma-3*", "*dialog*", "*tts"), "images": ("gemma-3-1b*", "*tts")},
    ),
)

XAI: Final = Engine(
    name="xai",
    label="xAI",
    key_starts=("xai-",),
    dialect="openai-chat",
    base_url="https://api.x.ai/v1",
    example_model="grok-4.5",
    image_generation=task_support.OPENAI_IMAGES,
    docs="https://docs.x.ai/docs/api-reference",
    caching="automatic",
    media_limits=MediaLimits(
        images=("image/png", "image/jpeg"), documents=(), audio=(), video=(), max_image_bytes=20 * _MB
    ),
    responses=ResponsesSupport(keeps_answers=True),  # https://docs.x.ai/docs/guides/responses-api
    # https://docs.x.ai/docs/guides/tools/search-tools: the tool browses pages too.
    web=WebSupport(
        fetch=("*",),
        responses=True,
        settings=frozenset({"allowed_domains", "blocked_domains"}),
        blocked_domains="excluded_domains",
        can_force=False,
    ),
    quirks=Quirks(
        max_tokens_field="max_completion_tokens",
        reasoning_in_output=False,
        cache_key_header="x-grok-conv-id",  # https://docs.x.ai/developers/advanced-api-usage/prompt-caching
        unsupported_options=frozenset({"top_k", "verbosity"}),
        max_top_logprobs=8,
    ),
    models=ModelRules(
        profiles=profiles.XAI,
        kinds=(("*image*", "image"), ("*video*", "video")),
        images=("*vision*", "grok-[4-9]*"),
        reasoning=("grok-3-mini*", "grok-[4-9]*"),
        exceptions={"tools": ("*vision*",), "reasoning": ("*non-reasoning*",)},
    ),
)

DEEPSEEK: Final = Engine(
    name="deepseek",
    label="DeepSeek",
    dialect="openai-chat",
    base_url="https://api.deepseek.com/v1",
    example_model="deepseek-flash",
    docs="https://api-docs.deepseek.com/api/create-chat-completion",
    caching="automatic",
    media_limits=MediaLimits(images=(), documents=(), audio=(), video=()),
    completions=task_support.DEEPSEEK_COMPLETIONS,
    quirks=Quirks(
        echo_reasoning="with_tools",
        json_schema=False,
        unsupported_options=frozenset({"top_k", "verbosity", "service_tier"}),
    ),
    models=ModelRules(profiles=profiles.DEEPSEEK, reasoning=("*reason*", "deepseek-v[4-9]*", "deepseek-flash")),
)

META: Final = Engine(
    name="meta",
    label="Meta",
    dialect="openai-chat",
    base_url="https://api.meta.ai/v1",
    example_model="muse-spark-1.3",
    docs="https://ai.meta.com/docs/model-api",
    media_limits=_NO_FILES,
    quirks=Quirks(max_tokens_field="max_completion_tokens", accepts_forced_tools=False, accepts_tool_choice_none=False),
    models=ModelRules(profiles=profiles.META, images=("muse*", "*Llama-4-*"), reasoning=("muse*",)),
)

MISTRALAI: Final = Engine(
    name="mistralai",
    label="MistralAI",
    dialect="openai-chat",
    base_url="https://api.mistral.ai",
    path="/v1",
    example_model="mistral-small-latest",
    docs="https://docs.mistral.ai/api",
    media_limits=MediaLimits(audio=_AUDIO, video=()),  # documents: many types, which it converts itself
    speech=task_support.MISTRAL_SPEECH,
    transcription=task_support.MISTRAL_TRANSCRIPTION,
    moderates=True,
    completions=task_support.MISTRAL_COMPLETIONS,
    keeps=frozenset({"files"}),
    quirks=Quirks(
        call_id_length=9,
        seed_field="random_seed",
        document_part="document_url",
        echo_reasoning="with_tools",
        reasoning_field="content",  # as thinking parts
        accepts_include_usage=False,  # it always reports usage: 21 of 21 recorded streams without the option
        unsupported_options=frozenset({"verbosity"}),
        shared_fields=frozenset({"metadata", "prompt_cache_key"}),
        service_tiers={"auto": "auto", "default": "standard_only", "standard_only": "standard_only"},
    ),
    models=ModelRules(
        listed_capabilities=frozenset({"tools", "images"}),
        profiles=profiles.MISTRAL,
        effort_by_list="high",
        kinds=(
            ("*embed*", "embedding"),
            ("*moderation*", "hidden"),
            ("*ocr*", "hidden"),
            ("*transcribe*", "stt"),
            ("voxtral*tts*", "tts"),
        ),
        reasoning=("*magistral*",),
    ),
)
