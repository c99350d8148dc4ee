"""A connected stream, through DNS, TCP, a proxy and TLS. Given up in whatever phase, it leaves no socket open."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient

from llm.errors import ConnectTimeout, EngineUnreachable
from llm.transport.request_head import Place

if TYPE_CHECKING:
    from tornado.concurrent import Future

# Host of a URL, port, numeric address: whether a socket may be connected to it.
Allowed: TypeAlias = Callable[[str, int, str], bool]

_MOST_ADDRESSES: Final = 16  # of a name that are tried, where somebody else chose the name
_MAX_PROXY_HEAD: Final = 64 * 1024  # bytes
_PROXY_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")

# Seconds. An engine may think for minutes without a byte, and routers forget connections that are silent for five.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 5}


class Connecting:
    """One attempt to reach a place. ``allowed`` is asked of each address that its name has; without it all are."""

    def __init__(
        self, place: Place, resolver: Resolver, tls: ssl.SSLContext | None, allowed: Allowed | None = None
    ) -> None:
        self._place = place
        self._resolver = resolver
        self._tls = tls
        self._allowed = allowed
        self._doing = ""  # for the message, should time run out

    async def stream(self, within: float) -> IOStream:
        """Within so many seconds in all. Raises ``ConnectTimeout`` and ``EngineUnreachable``."""
        try:
            async with asyncio.timeout(within):
                return await self._stream()
        except TimeoutError:
            host = self._place.host
            raise ConnectTimeout(f"{host} could not be reached within {within:g} seconds ({self._doing}).") from None

    async def _stream(self) -> IOStream:
        place, proxy = self._place, self._place.proxy
        if proxy is None:
            stream = await self._dialled(place.host, place.port, place.host)
        else:
            stream = await self._dialled(proxy.host, proxy.port, f"The proxy {proxy.host}")
        if self._tls is None:
            return stream
        if proxy is not None:
            await self._tunnelled(stream)
        return await self._secured(stream, self._tls)

    async def _dialled(self, host: str, port: int, name: str) -> IOStream:
        self._doing = f"looking up {host}"
        dialler = _Dialler(self._resolver if self._allowed is None else _Checked(self._resolver, self._allowed))
        try:
            stream = await dialler.connect(host, port)
        except (OSError, UnicodeError) as error:
            dialler.give_up()
            raise EngineUnreachable(f"{name} port {port} cannot be reached: {_reason(error)}.") from None
        except BaseException:
            if dialler.give_up():
                self._doing = f"connecting to {host} port {port}"
            raise
        stream.set_nodelay(True)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):  # not on every system
                stream.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return stream

    async def _tunnelled(self, stream: IOStream) -> None:
        """Asks the proxy for a way through to the provider."""
        place, proxy = self._place, self._place.proxy
        assert proxy is not None
        self._doing = f"waiting for the proxy {proxy.host}"
        target = f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        try:
            await stream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            answer = await stream.read_until(b"\r\n\r\n", max_bytes=_MAX_PROXY_HEAD)
        except StreamClosedError as error:
            told = f"The proxy {proxy.host} opened no way to {place.host}: {_reason(error)}."
            raise EngineUnreachable(told) from None
        except BaseException:
            stream.close()
            raise
        status = _PROXY_STATUS.match(answer)
        if status is None or not status[1].startswith(b"2"):
            stream.close()
            said = status[1].decode() if status is not None else "it does not speak HTTP"
            raise EngineUnreachable(f"The proxy {proxy.host} refused the way to {place.host}: {said}.")

    async def _secured(self, stream: IOStream, tls: ssl.SSLContext) -> IOStream:
        """TLS, with name and chain verified by the context."""
        host = self._place.host
        self._doing = "in the TLS handshake"
        bare = stream.socket
        try:
            handshake: Future[Any] = stream.start_tls(False, tls, host)
        except (OSError, ValueError) as error:
            stream.io_loop.remove_handler(bare)  # the stream may have let go of its socket already
            bare.close()
            raise EngineUnreachable(f"TLS with {host} could not begin: {_reason(error)}.") from None
        try:
            return await handshake  # type: ignore[no-any-return]
        except ssl.SSLCertVerificationError as error:
            raise EngineUnreachable(f"The certificate of {host} is not valid: {error.verify_message}.") from None
        except OSError as error:
            raise EngineUnreachable(f"TLS with {host} failed: {_reason(error)}.") from None
        except BaseException:
            # Tornado closes the stream of a handshake that is cancelled with us. One that had just ended is ours.
            if not handshake.cancelled() and handshake.exception() is None:
                handshake.result().close()
            raise


class _Checked(Resolver):
    """The addresses of a name, less those that may not be connected to.

    A name is looked up once for each connection, which then goes to these very addresses and no others: nothing that
    the name means a moment later can change where (X1).
    """

    def initialize(self, resolver: Resolver, allowed: Allowed) -> None:
        self._resolver = resolver
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [(kind, address) for kind, address in found if self._allowed(host, address[1], address[0])]
        if not allowed:
            raise OSError(errno.EACCES, "its address is not a public one")
        return allowed[:_MOST_ADDRESSES]


class _Dialler(TCPClient):
    """Knows the streams it began: a task that is cancelled when its connection has just been made would lose it."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(resolver)
        self._begun: list[IOStream] = []

    def _create_stream(self, *args: Any, **more: Any) -> tuple[IOStream, Future[IOStream]]:
        stream, connected = super()._create_stream(*args, **more)
        self._begun.append(stream)
        return stream, connected

    def give_up(self) -> bool:
        """Closes everything. Returns whether there was anything."""
        for stream in self._begun:
            stream.close()
        return bool(self._begun)


def _reason(error: BaseException | None) -> str:
    """Why, in a few words."""
    match error:
        case None:
            return "it hung up"
        case StreamClosedError():
            return _reason(error.real_error)
        case ssl.SSLError():
            return (error.reason or "broken off").replace("_", " ").lower()
        case OSError(strerror=str(text)):
            return text[:1].lower() + text[1:]
        case UnicodeError():
            return "that is not a host name"
        case _:
            return "it does not keep to the protocol"
