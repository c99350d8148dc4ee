"""The clients' connections: how many there may be, and how long one may take nothing of what waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import resource
import struct
import termios
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from llm import log
from llm.codec import dump_bytes
from llm.config import Config
from llm.dialects import native
from llm.errors import RateLimited

_FILES_KEPT: Final = 64  # files that are no connection: logs, the database, the loop's own
_LOOKS: Final = 8  # at each connection, in the time that a client may take nothing
_LONGEST: Final = 5.0  # seconds between two looks


class Listener(HTTPServer):
    """Tornado's server with this one's limits.

    Headers and bodies have their size and their time, which Tornado keeps. A client that does not read is not seen by
    it: what waits for that client would stay in memory, and its answer under way, for ever.
    """

    def initialize(self, app: Application, config: Config) -> None:  # type: ignore[override]
        super().initialize(
            app,
            idle_connection_timeout=config.header_timeout,
            body_timeout=config.body_timeout,
            max_header_size=config.max_header_size,
        )
        self._patience = config.client_timeout
        self._most = most_connections(config.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._stuck: dict[IOStream, tuple[int, float]] = {}  # bytes taken when it last took some, and when that was
        self._looking: asyncio.TimerHandle | None = None
        self.refused = 0  # connections that were one too many

    def add_sockets(self, sockets: Any) -> None:
        super().add_sockets(sockets)
        self._look_later()

    def stop(self) -> None:
        super().stop()
        if self._looking is not None:
            self._looking.cancel()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        if len(self._connections) < self._most:
            super().handle_stream(stream, address)
            return
        self.refused += 1
        if self.refused == 1:
            log.write("connections", 30, problem=f"there are {self._most}, more are refused (MAX_CONNECTIONS)")
        stream.write(_TOO_MANY)
        stream.close()

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(min(self._patience / _LOOKS, _LONGEST), self._look)

    def _look(self) -> None:
        """At every connection, by one timer for all."""
        now = asyncio.get_running_loop().time()
        before, self._stuck = self._stuck, {}
        for connection in [*self._connections]:
            stream = connection.stream
            if not stream.writing():
                continue
            taken = _taken(stream)
            last, since = before.get(stream, (-1, now))
            if taken == last and now - since >= self._patience:
                log.write("connections", problem=f"a client took nothing for {self._patience:g} seconds")
                stream.close()  # which its handler learns, as if the client had left
            else:
                self._stuck[stream] = (taken, since if taken == last else now)
        self._look_later()


def _taken(stream: IOStream) -> int:
    """Grows with every byte that the client takes, or that its system does for it."""
    try:
        # What the kernel holds: it asks for more only when a third of that, up to 4 MB, has gone.
        (held,) = struct.unpack("i", fcntl.ioctl(stream.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    except OSError:  # not every system tells
        held = 0
    written: int = stream._total_write_done_index  # there is no other way to see it move
    return written - int(held)


def most_connections(asked: int, files: int) -> int:
    """As many as were asked for (0: any number), but no more than there can be: a stream takes two files."""
    most = max((files - _FILES_KEPT) // 2, 1)
    return min(asked, most) if asked else most


def _refusal(error: RateLimited) -> bytes:
    body = dump_bytes(native.write_error(error))
    head = "HTTP/1.1 429 Too Many Requests", "Content-Type: application/json", f"Content-Length: {len(body)}"
    return "\r\n".join((*head, "Retry-After: 1", "Connection: close", "", "")).encode() + body


_TOO_MANY: Final = _refusal(RateLimited("Too many clients are connected (MAX_CONNECTIONS).", retry_after=1.0))
