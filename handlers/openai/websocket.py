"""``/v1/responses`` as a WebSocket: each ``response.create`` message is answered like a streamed POST.

Wire: https://developers.openai.com/api/docs/guides/websocket-mode, and the WebSocket transport of Open Responses. A
response is answered by a handler of its own, so that everything that holds for a POST holds here: authorization,
limits, every engine, the log, what is kept. Only the framing differs, and the connection keeps its last responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Final, cast
from urllib.parse import urlsplit

from tornado.httputil import RequestStartLine

from handlers.openai.responses import ResponsesHandler
from handlers.openai.turn import TurnConnection
from handlers.request.limits import LARGE_SIZE, LIGHT_SIZE, check_values, is_heavy
from handlers.server.connection import ClientConnection
from handlers.server.websocket import WebSocket
from llm.chat.events import Finished, Started
from llm.errors import InvalidRequest, LLMError, Unsupported, WebSocketNotServed
from llm.gateway.responses.connection import ConnectionMemory, join_conversation, join_json
from llm.gateway.responses.keeper import keeps_answers
from llm.http1.message import Headers
from llm.http1.threads import run_in_thread
from llm.http1.websocket import GOING_AWAY, NORMAL, VERSION, compute_accept, is_upgrade
from llm.wire.json_codec import dump_bytes, loads
from llm.wire.json_lenient import as_list, as_text
from llm.wire.json_steps import dump_in_steps, loads_in_steps

_CREATE: Final = "response.create"
# Headers of the upgrade that its responses do not have: those of the connection, and of one request.
_OWN_HEADERS: Final = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "expect", "idempotency-key",
    "transfer-encoding", "upgrade", "x-request-id",
})  # fmt: skip
_SOCKET_HEADERS: Final = "sec-websocket-"
_SOCKET_BETA: Final = "responses_websockets="  # a value of OpenAI-Beta that is about the connection
_MOST_LANE: Final = 200  # characters of ``stream_id``


class ResponsesSocketHandler(ResponsesHandler):
    """``/v1/responses``: POST, and an upgrade to a WebSocket where that is served."""

    async def get(self, *args: str) -> None:
        """Serves a WebSocket until it is closed; any other GET is refused."""
        request, offered = self.request, self.context.config.max_websockets > 0
        connection = request.connection
        is_ours = isinstance(connection, ClientConnection)  # the connection of Tornado's own server cannot do it
        if offered and is_ours and is_upgrade(request.headers) and request.version == "HTTP/1.1":
            await self._serve(cast("ClientConnection", connection), await self._check())
        else:
            await super().get(*args)

    async def _check(self) -> str:
        """Checks who asks, from where, and how; returns ``Sec-WebSocket-Accept``. Raises ``LLMError``."""
        request, config, sockets = self.request, self.context.config, self.context.sockets
        if request.headers.get("Sec-WebSocket-Version") != VERSION:
            message = f"Sec-WebSocket-Version: has to be {VERSION}"
            raise WebSocketNotServed(message, headers={"Sec-WebSocket-Version": VERSION})
        await self.authorize({})
        if not self.caller.trusted:
            raise WebSocketNotServed("A WebSocket needs a client id: send the request by HTTP POST.")
        self._check_origin()
        accept = compute_accept(request.headers.get("Sec-WebSocket-Key", ""))
        if accept is None:
            raise InvalidRequest("Sec-WebSocket-Key: has to be 16 bytes in base64", param="Sec-WebSocket-Key")
        if sockets.open >= config.max_websockets:  # 426, after which clients ask by HTTP at once
            message = f"{sockets.open} WebSockets are open (MAX_WEBSOCKETS): send the request by HTTP POST."
            raise WebSocketNotServed(message)
        return accept

    async def _serve(self, connection: ClientConnection, accept: str) -> None:
        sockets = self.context.sockets
        self.set_status(101)
        self.clear_header("Content-Type")
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.set_header(name, value)
        self.answer_task = asyncio.current_task()
        sockets.open += 1
        try:
            self.flush()
            await ResponseSocket(self, WebSocket(connection, self.context.config.max_body_size)).serve()
        except asyncio.CancelledError:
            if not self.client_gone:
                raise
        finally:
            sockets.open -= 1

    def _check_origin(self) -> None:
        """Refuses pages of other origins: a browser opens a WebSocket to any address without asking by CORS."""
        origin, allowed = self.request.headers.get("Origin"), self.context.config.cors_origins
        if not origin or "*" in allowed or origin in allowed:
            return
        if urlsplit(origin).netloc != self.request.headers.get("Host"):
            raise InvalidRequest(f"Origin: {origin[:100]} may not open a WebSocket here (CORS_ORIGINS)", param="Origin")


@dataclass(slots=True)
class _Turn:
    """What one message of the client asks for."""

    body: bytes  # of the POST
    items: bytes  # JSON of the conversation, without the answer


class ResponseSocket:
    """Answers the messages of one WebSocket, one after another."""

    def __init__(self, handler: ResponsesSocketHandler, socket: WebSocket) -> None:
        self._handler = handler
        self._context = handler.context
        self._socket = socket
        self._memory = ConnectionMemory(handler.context.sockets)
        self._answering = False
        self._expires = monotonic() + self._context.config.websocket_max_age

    async def serve(self) -> None:
        """Answers messages until the connection is closed, by the client or for its age, its idleness or the end."""
        active = self._context.active
        active.on_drain.add(self._end)
        try:
            while (message := await self._wait()) is not None:
                self._answering = True
                answer = self._answer(message)
                del message  # it may be large
                await answer
                self._answering = False
                if active.draining:
                    self._end()
        finally:
            active.on_drain.discard(self._end)
            self._socket.mark_closed()
            self._memory.close()

    def _end(self) -> None:
        """Closes the connection because the server ends, unless an answer is running."""
        if not self._answering:
            self._socket.close(GOING_AWAY, "the server is shutting down")

    async def _wait(self) -> bytes | None:
        """Returns the next message; None when the connection is to end. Pings the client from time to time."""
        config, socket = self._context.config, self._socket
        idle_until = monotonic() + config.websocket_idle_timeout
        while (left := min(idle_until, self._expires) - monotonic()) > 0:
            try:
                return await asyncio.wait_for(socket.receive(), min(left, config.keepalive_interval))
            except TimeoutError:
                socket.ping()
        if self._expires <= idle_until:
            text = f"Responses websocket connection limit reached ({config.websocket_max_age:g} seconds, "
            text += "WEBSOCKET_MAX_AGE). Create a new websocket connection to continue."
            code = "websocket_connection_limit_reached"
            error = {"type": "invalid_request_error", "code": code, "message": text, "param": None}
            socket.send(dump_bytes({"type": "error", "status": 400, "error": error}))
            socket.close(NORMAL, "too old (WEBSOCKET_MAX_AGE)")
        else:
            socket.close(NORMAL, "idle (WEBSOCKET_IDLE_TIMEOUT)")
        return None

    async def _answer(self, message: bytes) -> None:
        try:
            heavy = _is_heavy(message)
            fields = await run_in_thread(_parse, message, loads_in_steps) if heavy else _parse(message, loads)
        except LLMError as error:
            TurnConnection(self._socket).send_failure(error)
            return
        del message
        id, lane = as_text(fields.get("previous_response_id")), as_text(fields.get("stream_id"))[:_MOST_LANE]
        history = self._memory.find(id) or b""
        connection = TurnConnection(self._socket, lane, id if history else None)
        items = b"[]"
        try:
            generate = fields.pop("generate", None) is not False
            stored = bool(history) and fields.get("store") is not False and self._is_kept_by_engine(fields)
            heavy = heavy or _is_heavy(history)
            turn = (
                await run_in_thread(_read_turn, fields, history, stored, loads_in_steps, dump_in_steps)
                if heavy
                else _read_turn(fields, history, stored, loads, dump_bytes)
            )
            items = turn.items
            del history, fields
            if generate:
                await self._run(connection, turn)
            else:
                self._prepare(connection, loads(turn.body))
        except LLMError as error:
            connection.send_failure(error)
        if connection.failed:
            self._memory.evict(id)
        elif connection.response is not None:
            output = dump_bytes(connection.response.get("output") or [])
            self._memory.keep(lane, as_text(connection.response.get("id")), join_json(items, output))

    def _is_kept_by_engine(self, fields: Mapping[str, Any]) -> bool:
        model = as_text(fields.get("model"))
        return keeps_answers(self._context.catalog.resolve_model_name(model, self._handler.caller))

    async def _run(self, connection: TurnConnection, turn: _Turn) -> None:
        """Lets a handler of its own answer, until it has or the client has left."""
        handler = self._handler
        body, turn.body = turn.body, b""
        headers = _make_headers(handler.request.headers, len(body))
        line = RequestStartLine("POST", handler.request.uri or "", "HTTP/1.1")
        answering = cast("Any", handler.application).begin(connection, line, headers)
        answering.data_received(body)
        answering.on_body_end()
        del body, answering
        try:
            await asyncio.wait((connection.done, self._socket.closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.cancel()

    def _prepare(self, connection: TurnConnection, body: dict[str, Any]) -> None:
        """Answers ``generate: false``: the conversation is kept for the next message, and no engine is asked."""
        handler = self._handler
        self._context.schemas.check(handler.schema, body)
        self._context.catalog.resolve_model_name(body["model"], handler.caller)
        request = handler.dialect.read_request(body)
        writer = handler.dialect.create_writer(request, int(time()))
        connection.write(b"".join(writer.feed([Started("", body["model"]), Finished("stop")])))
        connection.finish()


def _is_heavy(data: bytes) -> bool:
    """True if the work on this JSON may take more than a few ms: it is done in a thread, in steps."""
    return len(data) > LARGE_SIZE or (len(data) > LIGHT_SIZE and is_heavy((data,)))


def _parse(message: bytes, decode: Callable[[bytes], Any]) -> dict[str, Any]:
    """Parses a message. Raises ``InvalidRequest``."""
    check_values(message)
    try:
        fields = decode(message)
    except ValueError as error:
        raise InvalidRequest(f"message: is not JSON ({error})"[:200], param="message") from None
    kind = fields.get("type") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or kind != _CREATE:
        raise InvalidRequest(f"type: {str(kind)[:100]!r} is not {_CREATE!r}", param="type")
    if fields.get("background"):
        raise Unsupported("background: cannot be used over a WebSocket", param="background")
    return fields


def _read_turn(
    fields: dict[str, Any],
    history: bytes,
    stored_reasoning: bool,
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes],
) -> _Turn:
    """Makes the request of a message; ``history``: JSON of the kept conversation that it continues."""
    sent = fields.get("input")
    if isinstance(sent, str):
        items: list[Any] = [{"type": "message", "role": "user", "content": sent}]
    else:
        items = [item for item in as_list(sent) if isinstance(item, dict)]
    dropped = {"type", "stream_id", "stream", *(("previous_response_id", "input") if history else ())}
    body: dict[str, Any] = {name: value for name, value in fields.items() if name not in dropped}
    if history:
        items = body["input"] = join_conversation(decode(history), items, stored_reasoning=stored_reasoning)
    return _Turn(encode({**body, "stream": True}), encode(items))


def _make_headers(headers: Mapping[str, str], size: int) -> Headers:
    """Returns the headers of a request on the connection that these headers have opened."""
    kept = {name: value for name, value in headers.items() if not name.startswith(_SOCKET_HEADERS)}
    kept = {name: value for name, value in kept.items() if name not in _OWN_HEADERS and _SOCKET_BETA not in value}
    kept |= {"content-type": "application/json", "content-length": str(size)}
    return Headers("\r\n".join(f"{name}: {value}" for name, value in kept.items()))
