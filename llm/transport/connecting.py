"""A connected socket, through DNS, TCP, a proxy and TLS; cancelled, it leaves nothing open.

Tornado's ``TCPClient`` is not used: cancelling its ``connect`` leaves the attempt running to its time-out, and the
socket of a handshake under way cannot be reached from outside. What is left is a race of addresses and a handshake.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from llm.errors import EngineUnreachable
from llm.transport.proxy import Proxy

HEAD_START: Final = 0.25  # seconds that one address gets before the next is tried beside it (RFC 8305)
_MAX_PROXY_HEAD: Final = 16 * 1024  # bytes

_Address: TypeAlias = tuple[int, Any]  # family, sockaddr


async def connected(host: str, port: int, tls: ssl.SSLContext | None, proxy: Proxy | None) -> socket.socket:
    """A non-blocking socket, ready for the first request. Raises ``EngineUnreachable``."""
    at = (host, port) if proxy is None else (proxy.host, proxy.port)
    sock = await _dialled(*at)
    try:
        if proxy is not None and tls is not None:
            await _tunnelled(sock, host, port, proxy)
        return sock if tls is None else await _secured(sock, host, tls)
    except BaseException:
        sock.close()
        raise


async def _dialled(host: str, port: int) -> socket.socket:
    """The first address that answers; the families take turns, each with a head start."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EngineUnreachable(f"The address of {host} is not known ({error.strerror}).") from None
    waiting = _in_turns([(family, address) for family, _, _, _, address in found])
    attempts: set[asyncio.Task[socket.socket]] = set()
    reason: OSError | None = None
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_attempt(*waiting.pop(0))))
            head_start = HEAD_START if waiting else None
            done, _ = await asyncio.wait(attempts, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
            attempts -= done
            won = [task.result() for task in done if task.exception() is None]
            if won:
                for late in won[1:]:
                    late.close()
                return won[0]
            for task in done:
                failure = task.exception()
                reason = failure if isinstance(failure, OSError) else reason
    finally:
        for task in attempts:
            task.add_done_callback(_close_late)
            task.cancel()
    raise EngineUnreachable(f"{host} port {port} cannot be reached ({reason.strerror if reason else 'no address'}).")


def _in_turns(addresses: Sequence[_Address]) -> list[_Address]:
    """The resolver's order, but alternating between the families."""
    first = addresses[0][0] if addresses else None
    ours = [address for address in addresses if address[0] == first]
    others = [address for address in addresses if address[0] != first]
    return [one for pair in _zip_longest(ours, others) for one in pair]


def _zip_longest(ours: Sequence[_Address], others: Sequence[_Address]) -> Iterable[Sequence[_Address]]:
    for at in range(max(len(ours), len(others))):
        yield (*ours[at : at + 1], *others[at : at + 1])


async def _attempt(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _tunnelled(sock: socket.socket, host: str, port: int, proxy: Proxy) -> None:
    """Asks a proxy for a way through to the provider."""
    loop = asyncio.get_running_loop()
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < _MAX_PROXY_HEAD:
            # Byte by byte at the end would be exact; a proxy sends nothing behind its head before we speak.
            got = await loop.sock_recv(sock, 4096)
            if not got:
                break
            answer += got
    except OSError as error:
        raise EngineUnreachable(f"The proxy {proxy.host} broke off ({error.strerror}).") from None
    status = answer.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].startswith(b"2"):
        said = status[1].decode("latin-1")[:3] if len(status) > 1 else "nothing"
        raise EngineUnreachable(f"The proxy {proxy.host} refused the way to {host} ({said}).")


async def _secured(sock: socket.socket, host: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """TLS on a connected socket, name and chain verified by the context."""
    loop = asyncio.get_running_loop()
    secure = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                await _ready(loop, secure, writing=False)
            except ssl.SSLWantWriteError:
                await _ready(loop, secure, writing=True)
    except ssl.SSLCertVerificationError as error:
        secure.close()
        raise EngineUnreachable(f"The certificate of {host} is not valid ({error.verify_message}).") from None
    except OSError as error:
        secure.close()
        raise EngineUnreachable(
            f"TLS with {host} failed ({error.reason if isinstance(error, ssl.SSLError) else error.strerror})."
        ) from None
    except BaseException:
        secure.close()
        raise


async def _ready(loop: asyncio.AbstractEventLoop, sock: socket.socket, *, writing: bool) -> None:
    """Returns when the socket can be read, or written."""
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(sock.fileno(), _resolve, ready)
    try:
        await ready
    finally:
        remove(sock.fileno())


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
