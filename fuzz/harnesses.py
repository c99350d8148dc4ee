"""One harness for each parser that meets the outside.

A harness takes any bytes. It returns, whatever they are; an exception that is not one of our own errors, or an answer
that depends on how the bytes were cut, is a finding. The first byte, where a harness needs one, chooses among what it
can do, so that a fuzzer reaches all of it.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from handlers.request.limits import check_values
from handlers.request.multipart import read_form
from handlers.request.schema import Schemas
from llm.chat.events import Event, Failed
from llm.chat.grammar import Grammar
from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import decode_metadata
from llm.chat.request import ChatRequest
from llm.config.parsers import ConfigError
from llm.config.settings import SETTINGS, Config
from llm.dialects import native, ollama, openai_chat
from llm.dialects.base import ClientDialect, EngineDialect
from llm.dialects.registry import CLIENT_DIALECTS, ENGINE_DIALECTS
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine
from llm.engines.media_limits import detect_image_type
from llm.engines.records import ENGINES
from llm.errors import LLMError, Malformed
from llm.gateway.callers import pop_body_keys, read_header_keys
from llm.http1.compression import create_inflater
from llm.http1.request_parser import RequestParser
from llm.http1.response_parser import ResponseParser
from llm.http1.websocket import FrameParser, WebSocketError
from llm.storage.legacy_threads import read_legacy_thread
from llm.storage.message_json import read_message
from llm.tasks import embeddings, speech, transcription
from llm.tools.charset import decode_text
from llm.transport.egress import Egress, UrlRefused
from llm.transport.interface import HttpRequest
from llm.transport.proxy import Proxies
from llm.transport.request_head import find_route, write_head
from llm.upstream.failures import read_retry_after
from llm.wire.frames import Frame, FrameDecoder, FrameSplitter
from llm.wire.json_codec import dump_bytes, loads
from llm.wire.ndjson import NdjsonDecoder, NdjsonSplitter
from llm.wire.schema_refs import inline_refs
from llm.wire.schema_subset import STRICT_SUBSET, Subset, fit_schema
from llm.wire.sse import SseDecoder, SseSplitter

Harness = Callable[[bytes], None]

ASKED: Final = ChatRequest(model="m", messages=(Message("user", (Text("Hello"),)),), stream=True)
SCHEMAS: Final = Schemas()
ENGINE_OF: Final = {
    "openai-chat": ENGINES["openai"],
    "openai-responses": ENGINES["openai"],
    "anthropic": ENGINES["anthropic"],
    "gemini": ENGINES["google"],
    "ollama": ENGINES["ollama"],
}
_LOOSE: Final = Subset(recursion="optional", type_lists=False, const=False, keywords=frozenset({"prefixItems"}))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """In pieces of this size, or in a few hundred: what is large is looked at in large pieces."""
    size = max(size, len(data) // 400, 1)
    return (data[at : at + size] for at in range(0, len(data), size))


def choice(data: bytes, of: int) -> tuple[int, bytes]:
    """The first byte as one of so many, and the rest."""
    return (data[0] % of if data else 0), data[1:]


def value_of(data: bytes) -> Any:
    """The JSON value that the bytes are, or None."""
    try:
        check_values(data)
        return loads(data)
    except (ValueError, LLMError):
        return None


# --- wires of bytes ---


def framing(data: bytes) -> None:
    """Frames and blocks are the same in any pieces."""
    size, data = choice(data, 17)
    for kind in (SseDecoder, NdjsonDecoder):
        assert _frames(kind(), [data]) == _frames(kind(), cut(data, size)), kind.__name__
    for blocks in (SseSplitter, NdjsonSplitter):
        assert _blocks(blocks(), [data]) == _blocks(blocks(), cut(data, size)) == data, blocks.__name__


def _frames(decoder: FrameDecoder, pieces: Any) -> list[Frame]:
    return [frame for piece in pieces for frame in decoder.feed(piece)] + decoder.close()


def _blocks(blocks: FrameSplitter, pieces: Any) -> bytes:
    whole = b"".join(blocks.extract_complete(piece) for piece in pieces)
    for block in blocks.split_events(whole):
        blocks.decode_frame(block)
    return whole + blocks.close()


def response(data: bytes) -> None:
    """An HTTP answer is the same in any pieces, or malformed in all of them."""
    size, data = choice(data, 17)
    for method in ("POST", "HEAD"):
        assert _response(method, [data]) == _response(method, cut(data, size))


def _response(method: str, pieces: Any) -> tuple[Any, ...]:
    parser, payload = ResponseParser(method), list[bytes]()
    fault = False
    for piece in pieces:
        try:
            if not (parser.complete or fault):
                parser.single_chunk(piece)
                parser.feed(piece, payload)
        except Malformed:
            fault = True
    whole = False if fault else parser.feed_eof()
    return parser.status, [*parser.headers.items()], b"".join(payload), whole, fault


def requests(data: bytes) -> None:
    """HTTP requests are the same in any pieces, as far as they can be read, and refused at the same one."""
    size, data = choice(data, 17)
    assert _requests([data]) == _requests(cut(data, size))


def _requests(pieces: Any) -> tuple[Any, ...]:
    parser, payload = RequestParser(4096), list[bytes]()
    seen: list[Any] = []
    try:
        for piece in pieces:
            parser.feed(piece, payload)
            while parser.complete:
                seen.append((parser.start_line, [*parser.headers.items()], b"".join(payload), parser.keep_alive))
                rest, payload, parser = parser.unparsed, [], RequestParser(4096)
                parser.feed(rest, payload)
    except LLMError as error:
        return seen, type(error)
    return seen, parser.start_line, b"".join(payload)


def websocket(data: bytes) -> None:
    """The messages of a WebSocket client are the same in any pieces, and refused at the same one."""
    size, data = choice(data, 17)
    assert _messages([data]) == _messages(cut(data, size))


def _messages(pieces: Any) -> tuple[list[Any], int]:
    parser, seen = FrameParser(4096), list[Any]()
    try:
        for piece in pieces:
            seen += parser.feed(piece)
    except WebSocketError as error:
        return [], error.code
    return seen, 0


def compression(data: bytes) -> None:
    size, data = choice(data, 17)
    for encoding in ("gzip", "deflate"):
        with suppress(Malformed):
            packed = create_inflater(encoding)
            assert packed is not None
            for piece in cut(data, size * 64):
                made = packed.feed(piece)
                while made or packed.pending:
                    made = packed.feed(b"")
            packed.close()


# --- what providers send ---


def engine_stream(name: str) -> Harness:
    dialect, engine = ENGINE_DIALECTS[name], ENGINE_OF[name]

    def harness(data: bytes) -> None:
        """What is read keeps the grammar and can be written in every client's dialect, in any pieces alike."""
        size, data = choice(data, 33)
        events = _events(dialect, engine, [data])
        again = _events(dialect, engine, cut(data, size))
        assert _told(events) == _told(again)
        Grammar().feed(events)
        for client in CLIENT_DIALECTS.values():
            writer = client.create_writer(ASKED, 0)
            for event in events:
                writer.feed([event])

    return harness


def _events(dialect: EngineDialect, engine: Engine, pieces: Any) -> list[Event]:
    decoder, reader = dialect.create_framing(), dialect.create_reader(engine)
    events: list[Event] = []
    try:
        for piece in pieces:
            for frame in decoder.feed(piece):
                events += reader.feed(frame)
                if reader.done:
                    return events
        for frame in decoder.close():
            events += reader.feed(frame)
            if reader.done:
                return events
        events += reader.close()
    except LLMError as error:
        events.append(Failed(error))
    return events


def _told(events: Sequence[Event]) -> list[str]:
    """Without what is minted anew each time, and errors by their words."""
    return [type(event).__name__ + (event.error.message if isinstance(event, Failed) else "") for event in events]


def engine_reply(name: str) -> Harness:
    dialect, engine = ENGINE_DIALECTS[name], ENGINE_OF[name]

    def harness(data: bytes) -> None:
        """A whole answer, an error, a list of models: read, and written in every client's dialect."""
        at, data = choice(data, 8)
        status = (400, 401, 403, 404, 429, 500, 503, 529)[at]
        errors = [dialect.read_error(status, data, engine)]
        value = value_of(data)
        try:
            reply = dialect.read_reply(value, engine)
            for client in CLIENT_DIALECTS.values():
                dump_bytes(client.write_reply(reply, ASKED, 0))
        except LLMError as error:
            errors.append(error)
        try:
            models = _listed(dialect, engine, value)
            for client in CLIENT_DIALECTS.values():
                dump_bytes(client.write_models(models))
        except LLMError as error:
            errors.append(error)
        for client in CLIENT_DIALECTS.values():
            for failure in errors:
                dump_bytes(client.write_error(failure))

    return harness


def _listed(dialect: EngineDialect, engine: Engine, value: Any) -> list[ModelInfo]:
    lister = dialect.list_models(engine)
    try:
        asked = next(lister)
        for _ in range(20):
            asked = lister.send([value for _ in asked])
    except StopIteration as stop:
        models: list[ModelInfo] = stop.value
        return models
    return []


def tasks(data: bytes) -> None:
    """Embeddings, speech and transcripts, as providers answer and as clients ask."""
    value = value_of(data)
    for engine in (ENGINES["openai"], ENGINES["google"], ENGINES["ollama"], ENGINES["mistralai"]):
        with suppress(LLMError):
            embeddings.read_reply(value, engine, 1)
        with suppress(LLMError):
            transcription.write_native(transcription.read_reply(value, engine))
    if not isinstance(value, dict):
        return
    for schema, read in (
        ("openai.embeddings", embeddings.read_request),
        ("openai.speech", speech.read_openai),
        ("voice.tts", speech.read_native),
        ("voice.stt", lambda body: transcription.read_native(body, None)),
        ("openai.transcription", lambda body: transcription.read_openai(body, None)),
    ):
        with suppress(LLMError):
            SCHEMAS.check(schema, value)
            read(value)


# --- what clients send ---


def client_request(dialect: ClientDialect, schema: str) -> Harness:
    def harness(data: bytes) -> None:
        """A body is refused, or read and then written for every engine or refused by it."""
        body = value_of(data)
        if not isinstance(body, dict):
            return
        with suppress(LLMError):
            pop_body_keys(body, ENGINES)
            SCHEMAS.check(schema, body)
            request = dialect.read_request(body)
            for name, engine in ENGINE_OF.items():
                with suppress(LLMError):
                    dump_bytes(ENGINE_DIALECTS[name].write_request(request, engine).body)

    return harness


def form(data: bytes) -> None:
    """A form with files, its header before the first line end."""
    header, _, body = data.partition(b"\n")
    with suppress(LLMError):
        read_form(header.decode("latin-1"), body)


def attachments(data: bytes) -> None:
    """MIME type and contents, by a line end apart, in each dialect that has them so."""
    head, _, rest = data.decode("utf-8", "replace").partition("\n")
    packed = b64encode(rest.encode("utf-8", "replace")).decode()
    detect_image_type(rest)
    for contents in (rest, packed, f"data:{head};base64,{packed}", f"data:{head},{rest}"):
        wires: tuple[tuple[ClientDialect, dict[str, Any]], ...] = (
            (native, {"prompt": "x", "attachment": {"mimeType": head, "contents": contents}}),
            (openai_chat, _said("content", [{"type": "image_url", "image_url": {"url": contents}}])),
            (openai_chat, _said("content", [{"type": "file", "file": {"filename": head, "file_data": contents}}])),
            (CLIENT_DIALECTS["anthropic"], _said("content", [_block(head, contents)])),
            (ollama, {**_said("images", [contents]), "model": "x"}),
        )
        for dialect, body in wires:
            with suppress(LLMError):
                request = dialect.read_request({"engine": "openai", "model": "m", **body})
                for name, engine in ENGINE_OF.items():
                    with suppress(LLMError):
                        dump_bytes(ENGINE_DIALECTS[name].write_request(request, engine).body)


def _said(name: str, value: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x", name: value}], "max_tokens": 1}


def _block(mime: str, contents: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": mime, "data": contents}}


def schemas(data: bytes) -> None:
    """A JSON Schema made to fit: what comes out can be written, and is the same each time."""
    value = value_of(data)
    if not isinstance(value, dict):
        return
    for fit in (
        inline_refs,
        lambda schema: fit_schema(schema, STRICT_SUBSET),
        lambda schema: fit_schema(schema, _LOOSE),
    ):
        with suppress(LLMError):
            one, two = fit(value), fit(value)
            assert one == two
            dump_bytes(one.schema)


def headers(data: bytes) -> None:
    """Values of headers, of clients and of providers."""
    text = data.decode("latin-1")
    native.choose_framing(text)
    for name in ("retry-after", "retry-after-ms"):
        waited = read_retry_after({name: text}, time.time())
        assert waited is None or 0 <= waited < float("inf")
    with suppress(LLMError):
        read_header_keys({"x-openai-key": text, text.lower(): "x"}, ENGINES)
    speech.choose_content_type(speech.SpeechRequest(text="x"), ENGINES["openai"], text)
    with suppress(LLMError):
        create_inflater(text)


def stored(data: bytes) -> None:
    """What comes back to us: sealed thoughts, threads of the older server, our own."""
    text = data.decode("utf-8", "replace")
    decode_metadata(text)
    decode_metadata("llm-server.1." + b64encode(data, b"-_").decode())
    with suppress(ValueError, LLMError):
        read_legacy_thread(text)
    value = value_of(data)
    if isinstance(value, dict):
        with suppress(ValueError, KeyError, TypeError, LLMError):  # as ``threads`` takes them: it cannot be read
            read_message(value)


# --- addresses and settings ---


def addresses(data: bytes) -> None:
    """URLs of tools and engines, hosts that go around a proxy."""
    first, _, second = data.decode("latin-1").partition("\n")
    with suppress(UrlRefused):
        assert Egress().parse_url(first).url.isascii()
    for settings in ({"HTTP_PROXY": "http://p:1", "NO_PROXY": second}, {"HTTP_PROXY": second}):
        try:
            proxies = Proxies(settings)
        except ValueError:
            continue
        for url in (first, "http://example.org:8080/x", "http://[::1]/"):
            with suppress(LLMError):
                request = HttpRequest(method="GET", url=url, headers={"x": second})
                head = write_head(request, find_route(url, proxies))
                assert head.count(b"\r\n\r\n") == 1 and head.endswith(b"\r\n\r\n")


def settings(data: bytes) -> None:
    """One variable, any value."""
    names = [*(setting.name for setting in SETTINGS), *_NAMES]
    at, data = choice(data, len(names))
    value = data.decode("utf-8", "replace")
    with suppress(ConfigError):
        Config.from_env({names[at]: value}, {value[:40]: value})


_NAMES: Final = (
    "AUTHORIZED_CLIENT_ID", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODELS", "OPENAI_THINK_TAGS", "AZURE_API_VERSION",
    "CUSTOM_ENGINES", "HTTPS_PROXY", "NO_PROXY", "OLLAMA_ENABLED",
)  # fmt: skip


def pages(data: bytes) -> None:
    """Bytes of the web as text; the label of their encoding before the first line end."""
    label, _, body = data.partition(b"\n")
    decode_text(body, label.decode("latin-1"))
    decode_text(data)


HARNESSES: Final[Mapping[str, Harness]] = {
    "framing": framing,
    "response": response,
    "requests": requests,
    "websocket": websocket,
    "compression": compression,
    **{f"stream-{name}": engine_stream(name) for name in ENGINE_OF},
    **{f"reply-{name}": engine_reply(name) for name in ENGINE_OF},
    "tasks": tasks,
    "request-native": client_request(native, "llm.chat"),
    "request-openai-chat": client_request(openai_chat, "openai.chat"),
    "request-openai-responses": client_request(CLIENT_DIALECTS["openai-responses"], "openai.responses"),
    "request-anthropic": client_request(CLIENT_DIALECTS["anthropic"], "anthropic.messages"),
    "request-gemini": client_request(CLIENT_DIALECTS["gemini"], "gemini.generate"),
    "request-ollama": client_request(ollama, "ollama.chat"),
    "request-ollama-generate": client_request(ollama.client_generate, "ollama.chat"),
    "form": form,
    "attachments": attachments,
    "schemas": schemas,
    "headers": headers,
    "stored": stored,
    "addresses": addresses,
    "settings": settings,
    "pages": pages,
}
