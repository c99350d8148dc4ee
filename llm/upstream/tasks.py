"""Requests for tasks other than chat: embeddings, token counts, speech, transcription."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from llm.chat.request import ChatRequest
from llm.chat.token_estimate import estimate
from llm.dialects.base import Outgoing
from llm.engines.api_choice import CHAT, over_responses
from llm.engines.engine import Target
from llm.tasks import embeddings, speech, token_count, transcription
from llm.tasks.speech import SpeechRequest
from llm.tasks.transcription import Transcript, TranscriptionRequest
from llm.transport.interface import HttpReply
from llm.upstream.attempts import ask, asked
from llm.upstream.call_record import Trace
from llm.upstream.engine_client import Services
from llm.upstream.translate import write_engine_request


async def embed(
    request: embeddings.EmbeddingRequest, target: Target, services: Services, trace: Trace
) -> embeddings.Embeddings:
    """Requests embeddings, in several requests if the engine limits their size. Raises ``LLMError``."""
    parts: list[embeddings.Embeddings] = []
    for outgoing, count in embeddings.write_request(request, target.engine, target.model):
        read = partial(embeddings.read_reply, engine=target.engine, count=count)
        parts.append(await ask(outgoing, read, target, services, trace))
        trace.dropped = outgoing.dropped
    return embeddings.joined(parts)


@dataclass(frozen=True, slots=True)
class Count:
    """A number of input tokens."""

    tokens: int
    estimated: bool = False


async def count(
    request: ChatRequest,
    target: Target,
    services: Services,
    trace: Trace,
    verbatim: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Count:
    """Counts the input tokens of a chat request; estimates them if the engine has no API for it.

    ``client_body``: the request as a client of the engine's own dialect sent it. Raises ``LLMError``.
    """
    if not target.engine.counts:
        return Count(estimate(request), estimated=True)
    if target.engine.dialect == CHAT:
        target = over_responses(target)
    engine = target.engine
    if verbatim is not None:
        outgoing = token_count.verbatim(verbatim, target.model)
    else:
        chat = write_engine_request(request, target)
        outgoing = token_count.write_request(chat, engine.dialect)
        trace.dropped = chat.dropped
    return Count(await ask(outgoing, token_count.read_reply, target, services, trace, headers))


@dataclass(slots=True)
class Heard:
    """Facts about a streamed response, set before its first byte is yielded."""

    content_type: str = "application/octet-stream"


def hand_on(
    outgoing: Outgoing, target: Target, services: Services, trace: Trace, heard: Heard
) -> AsyncGenerator[bytes, None]:
    """Yields the bytes of the engine's response unchanged. Raises ``LLMError``; retries before the first byte."""

    async def read(reply: HttpReply) -> AsyncGenerator[bytes, None]:
        heard.content_type = reply.headers.get("content-type", heard.content_type)
        async for chunk in reply:
            reply.alive()
            yield chunk

    return asked(outgoing, read, target, services, trace)


def speak(
    request: SpeechRequest, target: Target, services: Services, trace: Trace, heard: Heard
) -> AsyncGenerator[bytes, None]:
    """Yields the audio of synthesised speech as it arrives. Raises ``LLMError``; retries before the first byte."""
    engine = target.engine
    outgoing = speech.write_request(request, engine, target.model)

    async def read(reply: HttpReply) -> AsyncGenerator[bytes, None]:
        received_type = reply.headers.get("content-type", "")
        heard.content_type = speech.content_type(request, engine, received_type)
        reader = speech.reader(received_type, engine)
        async for chunk in reply:
            reply.alive()
            if audio := reader.feed(chunk):
                if trace.first_token is None:
                    trace.first_token = time.monotonic() - trace.started
                yield audio
        if rest := reader.close():
            yield rest

    return asked(outgoing, read, target, services, trace)


async def transcribe(request: TranscriptionRequest, target: Target, services: Services, trace: Trace) -> Transcript:
    """Requests the transcript of an audio file. Raises ``LLMError``."""
    outgoing = transcription.write_request(request, target.engine, target.model)
    transcript = await ask(outgoing, partial(transcription.read_reply, engine=target.engine), target, services, trace)
    trace.usage = transcript.usage
    return transcript
