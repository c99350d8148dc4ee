"""Speech to text: requests with an audio file, and the transcript of an engine's answer.

Wire reference: https://platform.openai.com/docs/api-reference/audio/createTranscription
The request is a multipart form; engines recognise the type of the audio by the extension of the file name. Usage is in
tokens or in seconds. Mistral counts the audio in addition to ``prompt_tokens``, OpenAI as part of ``input_tokens``.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llm.chat.messages import Usage
from llm.dialects.base import EngineRequest
from llm.dialects.native import write_usage
from llm.engines.engine import Engine
from llm.errors import InvalidRequest, Malformed, Unsupported
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text

# File name extensions that the engines know, with their content types.
_TYPES: Final[Mapping[str, str]] = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "webm": "audio/webm",
    "m4a": "audio/mp4",
    "mp4": "video/mp4",
    "aac": "audio/aac",
    "mpga": "audio/mpeg",
    "mpeg": "audio/mpeg",
}
_EXTENSIONS: Final[Mapping[str, str]] = {
    **{mime: extension for extension, mime in reversed([*_TYPES.items()])},
    "audio/mp3": "mp3",
    "audio/mpga": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/x-flac": "flac",
    "audio/m4a": "m4a",
    "audio/x-m4a": "m4a",
    "application/ogg": "ogg",
    "video/webm": "webm",
}
_NATIVE_NAMES: Final = frozenset(
    {"audio", "file", "mimeType", "filename", "engine", "model", "language", "prompt", "temperature"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file of a multipart form."""

    data: bytes
    filename: str
    mime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionRequest:
    """A request for a transcript. ``None``: not specified."""

    audio: bytes
    extension: str  # of the file name, without a dot: how engines recognise the type
    language: str | None = None  # ISO 639-1
    prompt: str | None = None  # text that helps to recognise words
    temperature: float | None = None
    extra: tuple[tuple[str, str], ...] = ()  # other fields of OpenAI's form; names may repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A transcript. ``None``: not reported by the engine."""

    text: str
    language: str | None = None
    duration: float | None = None  # seconds of audio
    usage: Usage | None = None
    segments: tuple[Mapping[str, Json], ...] = ()  # objects of the engine, unchanged
    words: tuple[Mapping[str, Json], ...] = ()


def read_native(body: Mapping[str, Any], upload: Upload | None) -> tuple[TranscriptionRequest, tuple[str, ...]]:
    """Reads a body of the native API, whose types a schema has checked. Raises ``InvalidRequest``.

    The audio is ``upload``, or base64 in ``audio`` (a ``data:`` prefix is accepted). Returns the request and the names
    of unknown fields, sorted.
    """
    if upload is None:
        upload = _read_inline_audio(body)
    if not upload.data:
        raise InvalidRequest("audio: must not be empty", param="audio")
    request = TranscriptionRequest(
        audio=upload.data,
        extension=_find_extension(upload),
        language=body.get("language") or None,
        prompt=body.get("prompt") or None,
        temperature=body.get("temperature"),
    )
    return request, tuple(sorted(set(body) - _NATIVE_NAMES))


def read_openai(body: Mapping[str, Any], upload: Upload | None) -> TranscriptionRequest:
    """Reads the form of an OpenAI client; unknown fields are sent on. Raises ``InvalidRequest``."""
    if upload is None:
        raise InvalidRequest("file: is required, in a multipart/form-data form", param="file")
    request, unknown = read_native(body, upload)
    extra = [(name, value) for name in unknown for value in _form_values(body[name])]
    return replace(request, extra=tuple(extra))


def _form_values(value: Any) -> list[str]:
    return [*value] if isinstance(value, list) else [str(value)]


def write_request(request: TranscriptionRequest, engine: Engine, model: str) -> EngineRequest:
    """Writes the request to the engine. Raises ``Unsupported``."""
    if engine.transcription is None:
        raise Unsupported(f"{engine.label} has no transcription API.", param="engine", engine=engine.name)
    options = {"language": request.language, "prompt": request.prompt, "temperature": request.temperature}
    fields = {name: str(value) for name, value in options.items() if value is not None}
    for name in fields:
        if name in engine.transcription.unsupported_fields:
            raise Unsupported(
                f"{engine.label} does not support {name} for transcription.", param=name, engine=engine.name
            )
    boundary = secrets.token_hex(16)
    raw = _write_form([("model", model), *fields.items(), *request.extra], request, boundary)
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return EngineRequest(path="/audio/transcriptions", raw=raw, headers=headers)


def read_reply(body: Any, engine: Engine) -> Transcript:
    """Reads the answer of an engine. Raises ``Malformed`` unless it is an object with a ``text``."""
    wire = as_dict(body)
    text = wire.get("text")
    if not isinstance(text, str):
        raise Malformed(f"{engine.label} answered without a transcript.", engine=engine.name)
    usage = as_dict(wire.get("usage"))
    seconds = (wire.get("duration"), usage.get("seconds"), usage.get("prompt_audio_seconds"))
    return Transcript(
        text=text,
        language=as_text(wire.get("language")) or _first_language(wire),
        duration=next((found for one in seconds if (found := _number(one)) is not None), None),
        usage=_read_usage(usage),
        segments=tuple(as_dicts(wire.get("segments"))),
        words=tuple(as_dicts(wire.get("words"))),
    )


def write_native(transcript: Transcript) -> dict[str, Json]:
    """Writes the answer of the native API, without fields that are not known."""
    wire: dict[str, Json] = {
        "text": transcript.text,
        "language": transcript.language,
        "duration": transcript.duration,
        "usage": None if transcript.usage is None else write_usage(transcript.usage),
        "segments": [dict(one) for one in transcript.segments] or None,
        "words": [dict(one) for one in transcript.words] or None,
    }
    return {name: value for name, value in wire.items() if value is not None}


def _read_inline_audio(body: Mapping[str, Any]) -> Upload:
    contents: str = body.get("audio") or ""
    if not contents:
        raise InvalidRequest("audio: is required, as base64 or as the file of a form", param="audio")
    declared = ""
    if contents.startswith("data:"):
        head, _, contents = contents[5:].partition(",")
        declared = head.removesuffix(";base64")
    try:
        data = base64.b64decode(contents, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidRequest("audio: is not base64", param="audio") from None
    return Upload(data=data, filename=body.get("filename") or "", mime=body.get("mimeType") or declared)


def _find_extension(upload: Upload) -> str:
    """Returns the extension by the content type, or by the file name if the type is not known."""
    mime = upload.mime.partition(";")[0].strip().lower()
    _, dot, extension = upload.filename.rpartition(".")
    if mime in _EXTENSIONS:
        return _EXTENSIONS[mime]
    if dot and extension.lower() in _TYPES:
        return extension.lower()
    known = ", ".join(dict.fromkeys(_TYPES.values()))
    raise InvalidRequest(f"mimeType: {mime[:60]!r} is not a known type of audio; use one of {known}", param="mimeType")


def _write_form(fields: Iterable[tuple[str, str]], request: TranscriptionRequest, boundary: str) -> bytes:
    """Writes the fields before the file, so that an engine that reads the form as a stream knows the model first."""
    file = f'name="file"; filename="audio.{request.extension}"\r\nContent-Type: {_TYPES[request.extension]}'
    parts: Iterable[tuple[str, bytes]] = (
        *((f'name="{name}"', value.encode("utf-8", "replace")) for name, value in fields),
        (file, request.audio),
    )
    lines: list[bytes] = []
    for head, value in parts:
        lines += (b"--" + boundary.encode(), b"Content-Disposition: form-data; " + head.encode(), b"", value)
    return b"\r\n".join((*lines, b"--" + boundary.encode() + b"--", b""))


def _read_usage(wire: Mapping[str, Any]) -> Usage | None:
    """Returns None if the usage is in seconds only."""
    prompt = as_count(wire.get("input_tokens", wire.get("prompt_tokens")))
    output = as_count(wire.get("output_tokens", wire.get("completion_tokens")))
    total = as_count(wire.get("total_tokens"))
    if prompt is None and output is None:
        return None
    if total is not None and output is not None and total >= output:
        prompt = total - output
    details = as_dict(wire.get("input_token_details", wire.get("prompt_tokens_details")))
    audio = as_count(details.get("audio_tokens"))
    return Usage(fresh=prompt, text=output, other={"audio_input": audio} if audio else {})


def _first_language(wire: Mapping[str, Any]) -> str | None:
    """``languages: [{"code": "en"}]``, from gpt-transcribe."""
    for one in as_list(wire.get("languages")):
        if code := as_text(one) or as_text(as_dict(one).get("code")):
            return code
    return None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
