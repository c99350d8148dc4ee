"""Text to speech: requests for audio, and the audio of an engine's answer.

Wire reference: https://platform.openai.com/docs/api-reference/audio/createSpeech
The body of an answer is the audio itself, in chunks of any size; Mistral sends JSON with the audio in base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from llm.dialects.base import EngineRequest
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, Malformed, Unsupported
from llm.wire.json_codec import Json, loads
from llm.wire.json_lenient import as_dict, as_text

MAX_TEXT: Final = 100_000  # characters, for every engine
MAX_BUFFERED_BYTES: Final = 64 * 1024 * 1024  # bytes of an answer that must be read completely before it can be used

# Names of audio formats, with the content type for engines that do not report it.
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
_PATH: Final = "/audio/speech"
_ANY_TYPE: Final[Mapping[str, str]] = {"accept": "*/*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """A request for speech. ``None``: not specified. ``format`` is a name in :data:`FORMATS`."""

    text: str
    voice: str | dict[str, Json] | None = None  # an object: a custom voice, such as ``{"id": "voice_1"}``
    format: str | None = None
    speed: float | None = None  # 1: normal
    instructions: str | None = None  # how to speak
    body: Mapping[str, Json] | None = None  # of an OpenAI client: it is sent as it is, with the engine's names


class AudioReader(Protocol):
    """Decodes the body of one answer into audio."""

    def feed(self, chunk: bytes) -> bytes:
        """Returns the audio that is complete with this chunk, which may be none."""
        ...

    def close(self) -> bytes:
        """Ends the answer and returns the rest of the audio. Raises ``Malformed`` if there was no audio."""
        ...


def read_native(body: Mapping[str, Any]) -> tuple[SpeechRequest, tuple[str, ...]]:
    """Reads a body of the native API, whose types a schema has checked. Raises ``InvalidRequest``.

    Returns the request and the names of unknown fields, sorted.
    """
    text: str = body["text"]
    if not text.strip():
        raise InvalidRequest("text: must not be empty", param="text")
    if len(text) > MAX_TEXT:
        raise InvalidRequest(f"text: has {len(text)} characters; the limit is {MAX_TEXT}", param="text")
    request = SpeechRequest(
        text=text,
        voice=body.get("voice"),
        format=body.get("format"),
        speed=body.get("speed"),
        instructions=body.get("instructions"),
    )
    return request, tuple(sorted(set(body) - _NATIVE_NAMES))


def read_openai(body: Mapping[str, Any]) -> SpeechRequest:
    """Reads the body of an OpenAI client, which is sent on as it is. Raises ``InvalidRequest`` or ``Unsupported``."""
    if body.get("stream_format") not in (None, "audio"):
        raise Unsupported("stream_format: speech is streamed as audio here, not as events", param="stream_format")
    try:
        request, _ = read_native({"text": body["input"], "format": body.get("response_format")})
    except InvalidRequest as error:
        raise InvalidRequest(error.message.replace("text:", "input:"), param="input") from None
    return replace(request, body=dict(body))


def write_request(request: SpeechRequest, engine: Engine, model: str) -> EngineRequest:
    """Writes the request to the engine. Raises ``Unsupported``, or ``InvalidRequest`` for too much text."""
    speech = engine.speech
    if speech is None:
        raise Unsupported(f"{engine.label} has no speech API.", param="engine", engine=engine.name)
    if request.body is not None:
        named = {"response_format": speech.formats.get(request.format, request.format)} if request.format else {}
        return EngineRequest(path=_PATH, body={**request.body, "model": model, **named}, headers=_ANY_TYPE)
    fields: dict[str, Json] = {"speed": request.speed, "instructions": request.instructions}
    for name, value in fields.items():
        if value is not None and name in speech.unsupported_fields:
            raise Unsupported(f"{engine.label} does not support {name} for speech.", param=name, engine=engine.name)
    if speech.max_characters is not None and len(request.text) > speech.max_characters:
        problem = f"text: has {len(request.text)} characters; the limit of {engine.label} is {speech.max_characters}"
        raise InvalidRequest(problem, param="text", engine=engine.name)
    body: dict[str, Json] = {
        "model": model,
        "input": request.text,
        "voice": request.voice or speech.voice or None,
        "response_format": _engine_format(request, engine),
        **fields,
    }
    return EngineRequest(
        path=_PATH, body={name: value for name, value in body.items() if value is not None}, headers=_ANY_TYPE
    )


def choose_content_type(request: SpeechRequest, engine: Engine, reported: str) -> str:
    """Returns the reported content type if it is an audio type, else that of the requested format."""
    reported = reported.strip()
    if _AUDIO_TYPE.fullmatch(reported):
        return reported
    name = request.format or (engine.speech.format if engine.speech else "mp3")
    return FORMATS.get(name, "application/octet-stream")


def create_reader(content_type: str, engine: Engine) -> AudioReader:
    """Creates the reader for an answer of this content type. Raises ``Malformed`` if it cannot hold audio."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return _Base64Audio(engine)
    if kind.startswith("text/"):
        raise Malformed(f"{engine.label} answered with {kind} instead of audio.", engine=engine.name)
    return _PlainAudio(engine)


def _engine_format(request: SpeechRequest, engine: Engine) -> str:
    assert engine.speech is not None
    name = request.format or engine.speech.format
    if name not in engine.speech.formats:
        known = ", ".join(engine.speech.formats)
        problem = f"format: {engine.label} does not support {name}; use one of {known}"
        raise Unsupported(problem, param="format", engine=engine.name)
    return engine.speech.formats[name]


class _PlainAudio:
    """The body is the audio."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._has_audio = False

    def feed(self, chunk: bytes) -> bytes:
        self._has_audio = self._has_audio or bool(chunk)
        return chunk

    def close(self) -> bytes:
        if not self._has_audio:
            raise Malformed(f"{self._engine.label} answered without audio.", engine=self._engine.name)
        return b""


class _Base64Audio:
    """The body is ``{"audio_data": "<base64>"}``, which cannot be read before it is complete."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size > MAX_BUFFERED_BYTES:
            problem = f"{self._engine.label} answered with more than {MAX_BUFFERED_BYTES} bytes."
            raise Malformed(problem, engine=self._engine.name)
        self._chunks.append(chunk)
        return b""

    def close(self) -> bytes:
        try:
            audio = base64.b64decode(as_text(as_dict(loads(b"".join(self._chunks))).get("audio_data")), validate=True)
        except (ValueError, binascii.Error):
            audio = b""
        if not audio:
            raise Malformed(f"{self._engine.label} answered with JSON without audio.", engine=self._engine.name)
        return audio
