"""Data about the speech, transcription and image APIs of the engines.

Sources: recorded requests to ``/audio/speech`` and ``/audio/transcriptions`` (openai, mistralai, openrouter), recorded
model lists (groq, azure), and the API references of groq, together and mistralai.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_ALL_FORMATS: Final = {name: name for name in ("mp3", "opus", "aac", "flac", "wav", "pcm")}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSupport:
    """OpenAI's ``/audio/speech`` at an engine: defaults and limits."""

    model: str = ""  # default; "": requests must name one
    voice: str = ""  # default; "": none is sent
    format: str = "mp3"  # default
    formats: Mapping[str, str] = field(default_factory=lambda: _ALL_FORMATS)  # name here to name at the engine
    unsupported_fields: frozenset[str] = frozenset()  # fields of ``SpeechRequest`` without an equivalent
    max_characters: int | None = None  # of text per request


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionSupport:
    """OpenAI's ``/audio/transcriptions`` at an engine: defaults and limits."""

    model: str = ""  # default; "": requests must name one
    unsupported_fields: frozenset[str] = frozenset()  # fields of ``TranscriptionRequest`` without an equivalent
    translates: bool = True  # has ``/audio/translations`` too


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSupport:
    """OpenAI's ``/images/generations`` at an engine."""

    model: str = ""  # default; "": requests must name one


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionSupport:
    """An API of an engine that completes a text.

    ``form``: ``openai-completions`` is OpenAI's older API, ``openai-fim`` Mistral's; "": that of the engine's dialect.
    """

    form: str = "openai-completions"
    path: str = "/completions"
    root: str = ""  # in place of the ``/v1`` at the end of the base URL
    suffix: bool = True  # it completes up to a text; False: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankSupport:
    """An API of an engine that orders documents by their relevance to a query (``llm.tasks.rerank``)."""

    path: str = "/rerank"
    below_root: bool = False  # the path begins at the base URL, without ``Engine.path``
    top_field: str = "top_n"  # number of documents in the answer
    sends_documents: bool = False  # it sends the documents back unless it is told not to
    objects: bool = False  # documents may be objects other than a text
    fields: frozenset[str] | None = None  # other fields that it knows; None: any


RERANK: Final = RerankSupport()
TOGETHER_RERANK: Final = RerankSupport(objects=True)

COMPLETIONS: Final = CompletionSupport()
PLAIN_COMPLETIONS: Final = CompletionSupport(suffix=False)
OLLAMA_COMPLETIONS: Final = CompletionSupport(form="", path="/api/generate")
MISTRAL_COMPLETIONS: Final = CompletionSupport(form="openai-fim", path="/fim/completions")
# https://api-docs.deepseek.com/guides/fim_completion
DEEPSEEK_COMPLETIONS: Final = CompletionSupport(root="/beta")

# OpenAI ends all its speech models on 2027-01-06, and this API serves no other: set TTS_ENGINE and TTS_MODEL then.
OPENAI_SPEECH: Final = SpeechSupport(model="gpt-4o-mini-tts", voice="alloy", max_characters=4096)
OPENAI_IMAGES: Final = ImageSupport()
OPENAI_TRANSCRIPTION: Final = TranscriptionSupport(model="gpt-transcribe")  # OpenAI ends its other models on 2027-02-26

GROQ_SPEECH: Final = SpeechSupport(
    model="canopylabs/orpheus-v1-english",
    voice="autumn",
    format="wav",  # its default, and the only format that its speech model certainly supports
    formats={"mp3": "mp3", "opus": "ogg", "flac": "flac", "wav": "wav"},
    unsupported_fields=frozenset({"instructions"}),
)
GROQ_TRANSCRIPTION: Final = TranscriptionSupport(model="whisper-large-v3-turbo")

MISTRAL_SPEECH: Final = SpeechSupport(
    model="voxtral-mini-tts-latest",
    voice="en_paul_neutral",
    formats={name: name for name in _ALL_FORMATS if name != "aac"},
    unsupported_fields=frozenset({"speed", "instructions"}),
)
MISTRAL_TRANSCRIPTION: Final = TranscriptionSupport(
    model="voxtral-mini-latest", unsupported_fields=frozenset({"prompt"}), translates=False
)

TOGETHER_SPEECH: Final = SpeechSupport(
    model="hexgrad/Kokoro-82M",
    voice="af_alloy",
    formats={"mp3": "mp3", "wav": "wav", "pcm": "raw"},
    unsupported_fields=frozenset({"speed", "instructions"}),
)
TOGETHER_TRANSCRIPTION: Final = TranscriptionSupport(model="openai/whisper-large-v3")

OPENROUTER_SPEECH: Final = SpeechSupport(model="hexgrad/kokoro-82m", voice="af_bella")
OPENROUTER_TRANSCRIPTION: Final = TranscriptionSupport(model="openai/gpt-4o-mini-transcribe", translates=False)

# Deployments and local servers: the models are not known here, so requests must name one.
CUSTOM_SPEECH: Final = SpeechSupport()
CUSTOM_TRANSCRIPTION: Final = TranscriptionSupport()
