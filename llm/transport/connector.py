"""Opens connections: name, TCP, proxy and TLS. A failed or cancelled attempt leaves no socket open, in every phase."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tornado.iostream import IOStream, StreamClosedError

from llm.errors import ConnectTimeout, EngineUnreachable
from llm.transport.dialler import Dialler
from llm.transport.names import Address, NameLookups
from llm.transport.request_head import Origin

if TYPE_CHECKING:
    from tornado.concurrent import Future

# (host of the URL, port, numeric address) -> True if a socket may connect to that address.
AddressFilter: TypeAlias = Callable[[str, int, str], bool]

_MAX_PROXY_HEAD: Final = 64 * 1024  # bytes of the proxy's response to CONNECT
_PROXY_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")

# Seconds, and a count. A model may reason for minutes without a byte, and routers drop connections idle for 5 minutes.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
# Milliseconds in which the other side has to acknowledge bytes or a probe: it may be gone without a word.
_ACKNOWLEDGE: Final = 30_000


class Connector:
    """One attempt to connect to an origin. ``address_filter`` selects among the addresses of its host name."""

    def __init__(
        self,
        origin: Origin,
        names: NameLookups,
        dialler: Dialler,
        tls: ssl.SSLContext | None,
        address_filter: AddressFilter | None = None,
    ) -> None:
        self._place = origin
        self._names = names
        self._dialler = dialler
        self._tls = tls
        self._address_filter = address_filter
        self._phase = ""  # for the message of ConnectTimeout

    async def connect(self, seconds: float) -> IOStream:
        """Returns a connected stream. ``seconds``: time limit of all phases together.

        Raises ``ConnectTimeout`` and ``EngineUnreachable``.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._connect()
        except TimeoutError:
            host = self._place.host
            self._names.renew_later((self._place.proxy or self._place).host)  # its addresses may be others by now
            raise ConnectTimeout(f"{host} could not be reached within {seconds:g} seconds ({self._phase}).") from None

    async def _connect(self) -> IOStream:
        place, proxy = self._place, self._place.proxy
        if proxy is None:
            stream = await self._dial(place.host, place.port, place.host)
        else:
            stream = await self._dial(proxy.host, proxy.port, f"The proxy {proxy.host}")
        if self._tls is None:
            return stream
        if proxy is not None:
            await self._open_tunnel(stream)
        return await self._start_tls(stream, self._tls)

    async def _dial(self, host: str, port: int, name: str) -> IOStream:
        try:
            stream = IOStream(await self._connect_to(host, port))
        except (OSError, UnicodeError) as error:
            raise EngineUnreachable(f"{name} port {port} cannot be reached: {_reason(error)}.") from None
        stream.set_nodelay(True)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):  # not on every system
                stream.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _ACKNOWLEDGE)
        return stream

    async def _connect_to(self, host: str, port: int) -> socket.socket:
        """Looks a name up and connects to it; once more if the name has other addresses by now."""
        self._phase = f"looking up {host}"
        addresses = self._filter(host, port, await self._names.find(host, port))
        self._phase = f"connecting to {host} port {port}"
        try:
            return await self._dialler.dial(addresses)
        except OSError:
            self._phase = f"looking up {host}"
            renewed = await self._names.renew(host, port)
            if not renewed:
                raise
        self._phase = f"connecting to {host} port {port}"
        return await self._dialler.dial(self._filter(host, port, renewed))

    def _filter(self, host: str, port: int, addresses: list[Address]) -> list[Address]:
        """Returns the addresses that the filter allows.

        The connection goes to one of these and is not looked up again, so a DNS answer that changes later cannot
        redirect it (X1).
        """
        allows = self._address_filter
        if allows is None:
            return addresses
        allowed = [(family, address) for family, address in addresses if allows(host, port, address[0])]
        if not allowed:
            raise OSError(errno.EACCES, "its address is not public")
        return allowed

    async def _open_tunnel(self, stream: IOStream) -> None:
        """Sends CONNECT to the proxy, to open a tunnel to the provider."""
        place, proxy = self._place, self._place.proxy
        assert proxy is not None
        self._phase = f"waiting for the proxy {proxy.host}"
        target = f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        try:
            await stream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            response = await stream.read_until(b"\r\n\r\n", max_bytes=_MAX_PROXY_HEAD)
        except StreamClosedError as error:
            message = f"The proxy {proxy.host} opened no tunnel to {place.host}: {_reason(error)}."
            raise EngineUnreachable(message) from None
        except BaseException:
            stream.close()
            raise
        status = _PROXY_STATUS.match(response)
        if status is None or not status[1].startswith(b"2"):
            stream.close()
            reason = status[1].decode() if status is not None else "it does not speak HTTP"
            raise EngineUnreachable(f"The proxy {proxy.host} refused the connection to {place.host}: {reason}.")

    async def _start_tls(self, stream: IOStream, tls: ssl.SSLContext) -> IOStream:
        """Starts TLS; the context verifies host name and certificate chain."""
        host = self._place.host
        self._phase = "in the TLS handshake"
        plain = stream.socket
        try:
            handshake: Future[Any] = stream.start_tls(False, tls, host)
        except (OSError, ValueError) as error:
            stream.io_loop.remove_handler(plain)  # the stream may have detached its socket already
            plain.close()
            raise EngineUnreachable(f"TLS with {host} could not be started: {_reason(error)}.") from None
        try:
            return await handshake  # type: ignore[no-any-return]
        except ssl.SSLCertVerificationError as error:
            message = f"The certificate of {host} is not valid: {error.verify_message}."
            raise EngineUnreachable(message, headers={"x-should-retry": "false"}) from None
        except OSError as error:
            raise EngineUnreachable(f"TLS with {host} failed: {_reason(error)}.") from None
        except BaseException:
            # Tornado closes the stream of a cancelled handshake. The stream of a handshake that has just ended is ours.
            if not handshake.cancelled() and handshake.exception() is None:
                handshake.result().close()
            raise


def _reason(error: BaseException | None) -> str:
    """Returns the cause of an error in a few words."""
    match error:
        case None:
            return "it closed the connection"
        case StreamClosedError():
            return _reason(error.real_error)
        case ssl.SSLError():
            return (error.reason or "connection broken").replace("_", " ").lower()
        case OSError(strerror=str(text)):
            return text[:1].lower() + text[1:]
        case UnicodeError():
            return "that is not a host name"
        case _:
            return "it violated the protocol"
