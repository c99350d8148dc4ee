"""One GET or POST on somebody else's word: public addresses only, on every hop, and all of it bounded (X1).

Through a proxy of ``HTTPS_PROXY`` nobody could say which address is connected to, so what tools fetch goes straight or
not at all; the providers that tools call (search, images) are the owner's choice and reached like any engine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

from llm.errors import LLMError
from llm.tools.base import ToolFailed
from llm.transport.egress import Egress, Refused, Where
from llm.transport.http_client import HttpTransport
from llm.transport.interface import HttpReply, HttpRequest

MOST_REDIRECTS: Final = 5
MOST_TIME: Final = 30.0  # seconds, for all hops together
MOST_BYTES: Final = 4 * 1024 * 1024  # of a body, as it is after decompression

_CONNECT: Final = 10.0  # seconds
_SILENCE: Final = 15.0  # seconds without a byte, before the answer or in it
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TYPE: Final = re.compile(r"\s*([A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+)")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_HEADERS: Final = {"accept": "text/html, */*;q=0.8", "accept-language": "en;q=0.9, *;q=0.5"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer with a 2xx status, whole."""

    host: str  # that it came from in the end
    content_type: str  # ``text/html``; "" where none was told
    charset: str  # as told by the header, or ""
    body: bytes


class Fetcher:
    """Fetches for all tools of a process."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._transport = HttpTransport(
            connect_timeout=_CONNECT,
            first_byte_timeout=_SILENCE,
            idle_timeout=_SILENCE,
            max_idle=8,
            keep_alive=5.0,
            allowed=egress.allows,
        )

    async def fetch(
        self,
        url: str,
        accepts: Callable[[str], bool],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Fetched:
        """The answer at the end of all redirects, if ``accepts`` likes its type (``""``: none told).

        With a ``body`` it is a POST, whose redirects are not followed. ``headers`` go only to where ``url`` is.
        Raises ``ToolFailed``.
        """
        try:
            async with asyncio.timeout(MOST_TIME):
                return await self._fetched(url, accepts, body, headers or {}, most_bytes)
        except TimeoutError:
            raise ToolFailed(f"The answer was not whole within {MOST_TIME:g} seconds.") from None
        except Refused as refused:
            raise ToolFailed(str(refused)) from None

    async def close(self) -> None:
        await self._transport.close()

    async def _fetched(
        self, url: str, accepts: Callable[[str], bool], body: bytes | None, headers: Mapping[str, str], most: int
    ) -> Fetched:
        where = first = self._egress.where(url)
        for _ in range(MOST_REDIRECTS + 1):
            own = headers if where.origin == first.origin else {}
            try:
                async with await self._transport.send(_request(where, body, own)) as reply:
                    if reply.status not in _REDIRECTS or body is not None:
                        return await _read(reply, where, accepts, most)
                    target = reply.headers.get("Location", "")
            except LLMError as error:  # of the transport, to which everyone is a provider
                raise ToolFailed(error.message.replace("The provider", where.host)) from None
            if not target:
                raise ToolFailed(f"{where.host} redirects without saying where to.")
            where = self._egress.where(_joined(where.url, target))
        raise ToolFailed(f"{first.host} redirects more than {MOST_REDIRECTS} times.")


def _joined(base: str, target: str) -> str:
    """Headers are read as Latin-1, but a URL in one that is not ASCII is UTF-8. Raises ``Refused``."""
    try:
        return urljoin(base, target.strip().encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise Refused("It redirects to what is not a URL.") from None


def _request(where: Where, body: bytes | None, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest(
        method="GET" if body is None else "POST", url=where.url, headers={**_HEADERS, **headers}, body=body
    )


async def _read(reply: HttpReply, where: Where, accepts: Callable[[str], bool], most: int) -> Fetched:
    if not 200 <= reply.status < 300:
        raise ToolFailed(f"{where.host} answered with status {reply.status}.")
    told = reply.headers.get("Content-Type", "")
    found = _TYPE.match(told)
    content_type = found[1].lower() if found else ""
    if not accepts(content_type):
        raise ToolFailed(f"{where.host} sent {content_type or 'something'}, which this tool does not read.")
    charset = _CHARSET.search(told)
    return Fetched(where.host, content_type, charset[1] if charset else "", await reply.read(most))
