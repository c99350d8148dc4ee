"""Which engines speak and listen, as data on their records.

Sources: ``/audio/speech`` and ``/audio/transcriptions`` as recorded (openai, mistralai, openrouter; the lists of groq
and azure) and as the vendors' own API descriptions have them (groq, together, mistralai).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_ALL: Final = {name: name for name in ("mp3", "opus", "aac", "flac", "wav", "pcm")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """That an engine has OpenAI's ``/audio/speech``, and what it takes there."""

    model: str = ""  # where a request names none; "": it has to
    voice: str = ""  # the same; "": none is sent
    format: str = "mp3"  # where a request names none
    formats: Mapping[str, str] = field(default_factory=lambda: _ALL)  # our word to the engine's
    refuses: frozenset[str] = frozenset()  # names of ``SpeechRequest`` that it has no place for
    most_characters: int | None = None  # of text


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription:
    """That an engine has OpenAI's ``/audio/transcriptions``."""

    model: str = ""  # where a request names none; "": it has to
    refuses: frozenset[str] = frozenset()  # names of ``TranscriptionRequest`` that it has no place for


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """That an engine has OpenAI's ``/images/generations``."""

    model: str = ""  # where a request names none; "": it has to


# All speech models of OpenAI end on 2027-01-06 and no other is served by this API: TTS_ENGINE and TTS_MODEL move on.
OPENAI_SPEECH: Final = Speech(model="gpt-4o-mini-tts", voice="alloy", most_characters=4096)
OPENAI_IMAGES: Final = Images()
OPENAI_TRANSCRIPTION: Final = Transcription(model="gpt-transcribe")  # the others end on 2027-02-26

GROQ_SPEECH: Final = Speech(
    model="canopylabs/orpheus-v1-english",
    voice="autumn",
    format="wav",  # its own default, and all that its speech model is sure to have
    formats={"mp3": "mp3", "opus": "ogg", "flac": "flac", "wav": "wav"},
    refuses=frozenset({"instructions"}),
)
GROQ_TRANSCRIPTION: Final = Transcription(model="whisper-large-v3-turbo")

MISTRAL_SPEECH: Final = Speech(
    model="voxtral-mini-tts-latest",
    voice="en_paul_neutral",
    formats={name: name for name in _ALL if name != "aac"},
    refuses=frozenset({"speed", "instructions"}),
)
MISTRAL_TRANSCRIPTION: Final = Transcription(model="voxtral-mini-latest", refuses=frozenset({"prompt"}))

TOGETHER_SPEECH: Final = Speech(
    model="hexgrad/Kokoro-82M",
    voice="af_alloy",
    formats={"mp3": "mp3", "wav": "wav", "pcm": "raw"},
    refuses=frozenset({"speed", "instructions"}),
)
TOGETHER_TRANSCRIPTION: Final = Transcription(model="openai/whisper-large-v3")

OPENROUTER_SPEECH: Final = Speech(model="hexgrad/kokoro-82m", voice="af_bella")
OPENROUTER_TRANSCRIPTION: Final = Transcription(model="openai/gpt-4o-mini-transcribe")

# Models of the owner's own: deployments, local servers. They have to be named.
NAMED_SPEECH: Final = Speech()
NAMED_TRANSCRIPTION: Final = Transcription()
