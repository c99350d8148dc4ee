"""Answers repeated requests with the first answer (``Idempotency-Key``), also while it is under way.

The answer is recorded at the connection, so that streams of every API are kept as they were sent. A request under way
in another process is waited for by asking the store again and again.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from tornado.httputil import HTTPServerRequest, ResponseStartLine

from llm.errors import InvalidRequest, KeyReused
from llm.gateway.callers import Caller
from llm.http1.threads import run_in_thread
from llm.storage.answers import LEASE, AnswerStore, Claim, KeptAnswer, RequestName

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"  # of a repeated answer, as other services have it
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_POLL: Final = 0.1  # seconds between two questions about a request of another process
_MARGIN: Final = 1.0  # seconds after the age of an answer at which it is deleted
_LARGEST: Final = 4  # an answer is kept if it has at most this part of the store
# Headers that belong to the connection, the time and the browser of one request.
_OF_ONE_REQUEST: Final = ("connection", "content-length", "date", "transfer-encoding", "vary")
_CORS: Final = "access-control-"


class Repeatable(Protocol):
    """A handler whose answer can be kept."""

    request: HTTPServerRequest
    caller: Caller
    client_gone: bool
    failure: Any
    log_fields: dict[str, Any]

    def digest_request(self) -> bytes:
        """Returns a digest of the body; called in a thread."""
        ...

    def set_status(self, status_code: int) -> None:
        """Sets the status of the response."""
        ...

    def set_header(self, name: str, value: Any) -> None:
        """Sets a header of the response."""
        ...

    def write(self, chunk: bytes) -> None:
        """Adds to the body of the response."""
        ...

    def finish(self) -> Any:
        """Ends the response."""
        ...


class Recorder:
    """A connection that also records the response; everything else is passed on."""

    def __init__(self, connection: Any, limit: int) -> None:
        self._connection = connection
        self._limit = limit  # bytes of a body; a longer one is not recorded
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self.ended = False  # the whole response was handed to the connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write_headers(
        self, start_line: ResponseStartLine, headers: Mapping[str, str], chunk: bytes | None = None
    ) -> Any:
        """Records and sends the head."""
        self._status = start_line.code
        self._headers = {name: value for name, value in headers.items() if not _belongs_to_one_request(name)}
        self._record(chunk or b"")
        return self._connection.write_headers(start_line, headers, chunk)

    def write(self, chunk: bytes) -> Any:
        """Records and sends a piece."""
        self._record(chunk)
        return self._connection.write(chunk)

    def write_last(self, chunk: bytes) -> None:
        """Records and sends the last piece."""
        self._record(chunk)
        getattr(self._connection, "write_last", self._connection.write)(chunk)

    def finish(self) -> None:
        """Ends the response."""
        self.ended = not getattr(self._connection, "closed", False)
        self._connection.finish()

    def take_answer(self) -> KeptAnswer | None:
        """Returns the response; None for one that is not complete, too large, or not below 300."""
        pieces, self._pieces = self._pieces, []
        if not self.ended or not 200 <= self._status < 300 or self._size > self._limit:
            return None
        return KeptAnswer(self._status, self._headers, b"".join(pieces))

    def _record(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= self._limit:
            self._pieces.append(chunk)
        else:
            self._pieces.clear()


def _belongs_to_one_request(name: str) -> bool:
    return name.lower() in _OF_ONE_REQUEST or name.lower().startswith(_CORS)


class RepeatedRequests:
    """Answers each request with a key once. ``max_age`` and ``max_size``: seconds and bytes of the store."""

    def __init__(self, store: AnswerStore, max_age: float, max_size: int) -> None:
        self._store = store
        self._max_age = max_age
        self._limit = max_size // _LARGEST
        # Requests under way here, by name: the holder of the claim, and the future that is done at its end.
        self._running: dict[RequestName, asyncio.Future[None]] = {}
        self._holders: set[str] = set()
        self._renewal: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pruning: asyncio.TimerHandle | None = None

    async def answer(self, handler: Repeatable, work: Callable[[], Awaitable[None]]) -> None:
        """Answers a request that has a key: by ``work``, or with the answer that was kept. Raises ``LLMError``."""
        key = handler.request.headers.get(HEADER, "")
        if not _KEY.fullmatch(key):
            raise InvalidRequest(f"{HEADER}: has to be 1 to 255 characters of ASCII", param=HEADER)
        name = RequestName(",".join(sorted(handler.caller.names)), handler.request.path, key)
        holder = secrets.token_hex(8)
        claim = await self._claim(name, await run_in_thread(handler.digest_request), holder)
        if isinstance(claim, KeptAnswer):
            _replay(handler, claim)
        elif claim == "other":
            raise KeyReused(f"{HEADER}: this key belongs to a request with another body", param=HEADER)
        elif claim == "unknown":  # the store failed: the answer matters more
            await work()
        else:
            await self._answer_first(handler, work, name, holder)

    def close(self) -> None:
        """Closes the store."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._pruning is not None:
            self._pruning.cancel()
        self._store.close()

    async def _claim(self, name: RequestName, digest: bytes, holder: str) -> KeptAnswer | Claim:
        """Claims a request; waits while another one of the same name is under way."""
        try:
            while (claim := await self._store.claim(name, digest, holder)) == "running":
                await self._wait(name)
        except asyncio.CancelledError:  # the store may claim it after all
            self._start(self._store.drop(holder))
            raise
        return claim

    async def _answer_first(
        self, handler: Repeatable, work: Callable[[], Awaitable[None]], name: RequestName, holder: str
    ) -> None:
        done = self._running[name] = asyncio.get_running_loop().create_future()
        self._holders.add(holder)
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())
        original: Any = handler.request.connection
        recorder = Recorder(original, self._limit)
        handler.request.connection = recorder  # type: ignore[assignment]
        answer = None
        try:
            await work()
            if not recorder.ended and not handler.client_gone:
                handler.finish()
            if not handler.client_gone and handler.failure is None:
                answer = recorder.take_answer()
        finally:
            self._holders.discard(holder)
            await asyncio.shield(self._settle(name, holder, answer, done))

    async def _settle(
        self, name: RequestName, holder: str, answer: KeptAnswer | None, done: asyncio.Future[None]
    ) -> None:
        try:
            if answer is None:
                await self._store.drop(holder)
            else:
                await self._store.keep(holder, answer)
                if self._pruning is None:
                    loop = asyncio.get_running_loop()
                    self._pruning = loop.call_later(self._max_age + _MARGIN, self._prune)
        finally:
            if self._running.get(name) is done:
                del self._running[name]
            done.set_result(None)

    def _prune(self) -> None:
        self._pruning = None
        self._start(self._store.prune())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, name: RequestName) -> None:
        running = self._running.get(name)
        if running is None:
            await asyncio.sleep(_POLL)
        else:
            await asyncio.shield(running)

    async def _renew(self) -> None:
        try:
            while self._holders:
                await asyncio.sleep(LEASE / 3)
                if self._holders:
                    await self._store.renew([*self._holders])
        finally:
            self._renewal = None


def _replay(handler: Repeatable, answer: KeptAnswer) -> None:
    handler.log_fields["replayed"] = True
    handler.set_status(answer.status)
    for name, value in answer.headers.items():
        handler.set_header(name, value)
    handler.set_header(REPLAYED, "true")
    handler.write(answer.body)
