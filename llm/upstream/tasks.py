"""Requests for tasks other than chat: embeddings, token counts, speech, transcription."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from llm.chat.request import ChatRequest
from llm.chat.token_estimate import estimate_input_tokens
from llm.dialects.base import EngineRequest, add_query
from llm.engines.api_choice import CHAT, use_responses
from llm.engines.engine import RESPONSES_PATH, Target
from llm.errors import LLMError
from llm.tasks import embeddings, rerank, speech, token_count, transcription
from llm.tasks.speech import SpeechRequest
from llm.tasks.transcription import Transcript, TranscriptionRequest
from llm.transport.interface import HttpResponse
from llm.upstream.attempts import request_body, request_json, request_stream
from llm.upstream.call_record import CallRecord
from llm.upstream.engine_client import EngineClient
from llm.upstream.failures import read_failure
from llm.upstream.translate import write_engine_request
from llm.upstream.whole_answer import read_whole
from llm.wire.json_codec import Json


async def embed(
    request: embeddings.EmbeddingRequest, target: Target, client: EngineClient, record: CallRecord
) -> embeddings.Embeddings:
    """Requests embeddings, in several requests if the engine limits their size. Raises ``LLMError``."""
    parts: list[embeddings.Embeddings] = []
    for outgoing, count in embeddings.write_request(request, target.engine, target.model):
        read = partial(embeddings.read_reply, engine=target.engine, count=count)
        parts.append(await request_json(outgoing, read, target, client, record))
        record.dropped = outgoing.dropped
    return embeddings.merge_embeddings(parts)


async def embed_passthrough(
    outgoing: EngineRequest,
    check: Callable[[bytes], bytes],
    target: Target,
    client: EngineClient,
    record: CallRecord,
) -> bytes:
    """Requests embeddings as a client of the engine's own dialect asked for them, and returns the engine's answer.

    ``check``: returns what is sent to the client in its place. Raises ``LLMError``.
    """
    return await request_body(outgoing, check, target, client, record)


async def rank(
    request: rerank.RerankRequest, target: Target, client: EngineClient, record: CallRecord
) -> rerank.Ranking:
    """Requests the order of documents. Raises ``LLMError``."""
    engine = target.engine
    outgoing = rerank.write_request(request, engine, target.model)
    record.dropped = outgoing.dropped
    if engine.rerank is not None and engine.rerank.below_root:
        target = replace(target, engine=replace(engine, path=""))
    return await request_json(
        outgoing, partial(rerank.read_reply, request=request, engine=engine), target, client, record
    )


@dataclass(frozen=True, slots=True)
class TokenCount:
    """A number of input tokens."""

    tokens: int
    estimated: bool = False
    fields: Mapping[str, Json] = field(default_factory=dict)  # the engine's whole answer, for clients of its dialect


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request as a client of the engine's own dialect sent it."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]  # sent in addition
    query: str = ""  # of the URL


async def count_tokens(
    request: ChatRequest,
    target: Target,
    client: EngineClient,
    record: CallRecord,
    own: OwnRequest | None = None,
) -> TokenCount:
    """Counts the input tokens of a chat request; estimates them if the engine has no API for it.

    ``own``: the request as a client of the engine's own dialect sent it. Raises ``LLMError``.
    """
    target = client.memory.adapt(target)
    engine = target.engine
    if engine.counts_tokens and (engine.dialect != CHAT or engine.responses is not None):
        try:
            return await _ask_count(request, target, client, record, own)
        except LLMError as error:
            if not _has_no_path(error):  # as of a proxy, whose base URL an engine may have
                raise
            record.dropped = ()
    return TokenCount(estimate_input_tokens(request), estimated=True)


def _has_no_path(error: LLMError) -> bool:
    """True for an error that says that there is no such path, and not that there is no such model."""
    details = error.provider
    if details is None or details.status not in (404, 405, 501):
        return False
    return details.status != 404 or "model" not in f"{details.code} {details.message} {error.param}".lower()


async def _ask_count(
    request: ChatRequest, target: Target, client: EngineClient, record: CallRecord, own: OwnRequest | None
) -> TokenCount:
    if target.engine.dialect == CHAT:
        target = use_responses(target)
    engine = target.engine
    if own is not None:
        outgoing = token_count.passthrough_request(own.body, target.model, engine.dialect)
        outgoing = add_query(outgoing, own.query) if own.query else outgoing
        wire = await request_json(outgoing, token_count.read_fields, target, client, record, own.headers)
        return TokenCount(token_count.read_reply(wire), fields=wire)
    chat = write_engine_request(request, target)
    outgoing = token_count.write_request(chat, engine.dialect)
    record.dropped = chat.dropped
    return TokenCount(await request_json(outgoing, token_count.read_reply, target, client, record))


async def is_without_responses(target: Target, client: EngineClient) -> bool:
    """Asks an engine for an empty response, which is refused and costs nothing. Returns whether it lacks this API.

    False, without a request, where the record or the owner of the server decides.
    """
    support = target.engine.responses
    if support is None or support.forced:
        return False
    target = use_responses(target)
    try:
        async with await client.send(target, EngineRequest(path=RESPONSES_PATH, body={})) as reply:
            if not 200 <= reply.status < 300:
                raise await read_failure(reply, target)
            await read_whole(reply, target, client.max_answer)
            return False
    except LLMError as error:
        return error.lack == "api"


@dataclass(slots=True)
class ResponseInfo:
    """Facts about a streamed response, set before its first byte is yielded."""

    content_type: str = "application/octet-stream"


def stream_body(
    outgoing: EngineRequest, target: Target, client: EngineClient, record: CallRecord, info: ResponseInfo
) -> AsyncGenerator[bytes, None]:
    """Yields the bytes of the engine's response unchanged. Raises ``LLMError``; retries before the first byte."""

    async def read(reply: HttpResponse) -> AsyncGenerator[bytes, None]:
        info.content_type = reply.headers.get("content-type", info.content_type)
        async for chunk in reply:
            reply.reset_idle_timer()
            yield chunk

    return request_stream(outgoing, read, target, client, record)


def speak(
    request: SpeechRequest,
    outgoing: EngineRequest,
    target: Target,
    client: EngineClient,
    record: CallRecord,
    info: ResponseInfo,
) -> AsyncGenerator[bytes, None]:
    """Yields the audio of synthesised speech as it arrives. Raises ``LLMError``; retries before the first byte.

    ``outgoing``: ``request`` as :func:`llm.tasks.speech.write_request` wrote it for the engine.
    """
    engine = target.engine

    async def read(reply: HttpResponse) -> AsyncGenerator[bytes, None]:
        received_type = reply.headers.get("content-type", "")
        info.content_type = speech.choose_content_type(request, engine, received_type)
        reader = speech.create_reader(received_type, engine)
        async for chunk in reply:
            reply.reset_idle_timer()
            if audio := reader.feed(chunk):
                if record.first_token is None:
                    record.first_token = time.monotonic() - record.started
                yield audio
        if rest := reader.close():
            yield rest

    return request_stream(outgoing, read, target, client, record)


async def transcribe(
    request: TranscriptionRequest, target: Target, client: EngineClient, record: CallRecord
) -> Transcript:
    """Requests the transcript of an audio file. Raises ``LLMError``."""
    outgoing = transcription.write_request(request, target.engine, target.model)
    transcript = await request_json(
        outgoing, partial(transcription.read_reply, engine=target.engine), target, client, record
    )
    record.usage = transcript.usage
    return transcript
