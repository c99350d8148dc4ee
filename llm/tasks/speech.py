"""Text to speech: a request for audio, and the audio out of an engine's answer.

Wire: https://platform.openai.com/docs/api-reference/audio/createSpeech
The answer is the audio itself, in pieces that mean nothing; Mistral's is JSON with the audio in base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from llm.dialects.base import Outgoing
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, Malformed, Unsupported
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import dict_of, text_of

MAX_TEXT: Final = 100_000  # characters, whatever the engine says
MAX_WHOLE: Final = 64 * 1024 * 1024  # bytes, of an answer that has to be read whole

# Our words for audio formats, and what they are where an engine does not say it.
FORMATS: Final[Mapping[str, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",  # 24 kHz, 16 bits, little-endian, mono
}
_AUDIO_TYPE: Final = re.compile(r"audio/[\w.+-]+(\s*;\s*[\w-]+=[\w.+-]+)*", re.ASCII)
_NATIVE_NAMES: Final = frozenset({"text", "engine", "model", "voice", "format", "speed", "instructions"})
_OPENAI_NAMES: Final = frozenset(
    {"input", "model", "voice", "response_format", "speed", "instructions", "stream_format"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """``None``: not asked for. ``format`` is a name in :data:`FORMATS`."""

    text: str
    voice: str | None = None
    format: str | None = None
    speed: float | None = None  # 1 is the usual one
    instructions: str | None = None  # how to speak
    extra: Mapping[str, Json] = field(default_factory=dict)  # other fields of OpenAI's wire


class AudioReader(Protocol):
    """The bytes of one answer to bytes of audio."""

    def feed(self, chunk: bytes) -> bytes: ...
    def close(self) -> bytes:
        """The answer has ended: what was kept back. Raises ``Malformed`` if there was no audio at all."""
        ...


def read_native(body: Mapping[str, Any]) -> tuple[SpeechRequest, tuple[str, ...]]:
    """The request in a body whose types the schema has checked, and the names that mean nothing here.

    Raises ``InvalidRequest``.
    """
    text: str = body["text"]
    if not text.strip():
        raise InvalidRequest("text: must not be empty", param="text")
    if len(text) > MAX_TEXT:
        raise InvalidRequest(f"text: has {len(text)} characters; {MAX_TEXT} are the most", param="text")
    request = SpeechRequest(
        text=text,
        voice=body.get("voice"),
        format=body.get("format"),
        speed=body.get("speed"),
        instructions=body.get("instructions"),
    )
    return request, tuple(sorted(set(body) - _NATIVE_NAMES))


def read_openai(body: Mapping[str, Any]) -> SpeechRequest:
    """The same of OpenAI's clients; fields that nobody knows go along. Raises ``InvalidRequest`` or ``Unsupported``."""
    if body.get("stream_format") not in (None, "audio"):
        raise Unsupported("stream_format: speech is streamed as audio here, not as events", param="stream_format")
    extra = {name: value for name, value in body.items() if name not in _OPENAI_NAMES and value is not None}
    native = {"text": body["input"], "voice": body.get("voice"), "format": body.get("response_format")}
    try:
        request, _ = read_native({**native, **{name: body.get(name) for name in ("speed", "instructions")}})
    except InvalidRequest as error:
        raise InvalidRequest(error.message.replace("text:", "input:"), param="input") from None
    return replace(request, extra=extra)


def write_request(request: SpeechRequest, engine: Engine, model: str) -> Outgoing:
    """Raises ``Unsupported`` for what the engine has no place for, ``InvalidRequest`` for text beyond its limit."""
    speech = engine.speech
    if speech is None:
        raise Unsupported(f"{engine.label} has no speech API.", param="engine", engine=engine.name)
    given: dict[str, Json] = {"speed": request.speed, "instructions": request.instructions}
    for name, value in given.items():
        if value is not None and name in speech.refuses:
            raise Unsupported(f"{engine.label} takes no {name} for speech.", param=name, engine=engine.name)
    if speech.most_characters is not None and len(request.text) > speech.most_characters:
        told = f"text: has {len(request.text)} characters; {engine.label} takes {speech.most_characters} at a time"
        raise InvalidRequest(told, param="text", engine=engine.name)
    body: dict[str, Json] = {
        "model": model,
        "input": request.text,
        "voice": request.voice or speech.voice or None,
        "response_format": _format(request, engine),
        **given,
        **request.extra,
    }
    return Outgoing(
        path="/audio/speech",
        body={name: value for name, value in body.items() if value is not None},
        headers={"accept": "*/*"},
    )


def content_type(request: SpeechRequest, engine: Engine, told: str) -> str:
    """What the audio is: as the engine ``told`` if that can be, else by the format that was asked for."""
    told = told.strip()
    if _AUDIO_TYPE.fullmatch(told):
        return told
    return FORMATS[request.format or (engine.speech.format if engine.speech else "mp3")]


def reader(told: str, engine: Engine) -> AudioReader:
    """For an answer of the content type ``told``. Raises ``Malformed`` for one that cannot be audio."""
    kind = told.partition(";")[0].strip().lower()
    if kind == "application/json":
        return _WholeAudio(engine)
    if kind.startswith("text/"):
        raise Malformed(f"{engine.label} answered with {kind} instead of audio.", engine=engine.name)
    return _PlainAudio(engine)


def _format(request: SpeechRequest, engine: Engine) -> str:
    assert engine.speech is not None
    wanted = request.format or engine.speech.format
    if wanted not in engine.speech.formats:
        known = ", ".join(engine.speech.formats)
        told = f"format: {engine.label} does not speak in {wanted}; it has {known}"
        raise Unsupported(told, param="format", engine=engine.name)
    return engine.speech.formats[wanted]


class _PlainAudio:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._some = False

    def feed(self, chunk: bytes) -> bytes:
        self._some = self._some or bool(chunk)
        return chunk

    def close(self) -> bytes:
        if not self._some:
            raise Malformed(f"{self._engine.label} answered without any audio.", engine=self._engine.name)
        return b""


class _WholeAudio:
    """``{"audio_data": "<base64>"}``: nothing of it can be used before its end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size > MAX_WHOLE:
            told = f"{self._engine.label} answered with more than {MAX_WHOLE} bytes."
            raise Malformed(told, engine=self._engine.name)
        self._pieces.append(chunk)
        return b""

    def close(self) -> bytes:
        try:
            audio = base64.b64decode(text_of(dict_of(loads(b"".join(self._pieces))).get("audio_data")), validate=True)
        except (ValueError, binascii.Error):
            audio = b""
        if not audio:
            raise Malformed(f"{self._engine.label} answered with JSON that holds no audio.", engine=self._engine.name)
        return audio
