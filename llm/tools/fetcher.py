"""Fetches URLs that come from a model, a client or a web page: public addresses only, on every redirect (X1).

Time, size and redirects are limited. The proxy of ``HTTPS_PROXY`` is not used, since it would hide the address that is
connected to. The providers that tools call (search, images) are configured by the owner and reached like any engine.
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
from llm.transport.egress import Egress, FetchUrl, UrlRefused
from llm.transport.http_client import HttpTransport
from llm.transport.interface import HttpRequest, HttpResponse
from llm.transport.names import NameLookups

MAX_REDIRECTS: Final = 5  # per fetch
FETCH_TIMEOUT: Final = 30.0  # seconds, for all redirects together
MAX_BYTES: Final = 4 * 1024 * 1024  # bytes of a body after decompression

_CONNECT_TIMEOUT: Final = 10.0  # seconds
_IDLE_TIMEOUT: Final = 15.0  # seconds without a byte, before or in the response
_MAX_LOOKUPS: Final = 8  # name look-ups at the same time; a model chooses the names
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TYPE: Final = re.compile(r"\s*([A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+)")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_HEADERS: Final = {"accept": "text/html, */*;q=0.8", "accept-language": "en;q=0.9, *;q=0.5"}


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A whole response with a 2xx status."""

    host: str  # of the last URL, after redirects
    content_type: str  # such as ``text/html``; "" if there is none
    charset: str  # of the Content-Type header, or ""
    body: bytes


class Fetcher:
    """Fetches URLs for all tools of a process."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._transport = HttpTransport(
            connect_timeout=_CONNECT_TIMEOUT,
            first_byte_timeout=_IDLE_TIMEOUT,
            idle_timeout=_IDLE_TIMEOUT,
            max_idle=8,
            keep_alive=5.0,
            address_filter=egress.allows,
            names=NameLookups(_MAX_LOOKUPS, keep_answers=False),
        )

    async def fetch(
        self,
        url: str,
        accepts: Callable[[str], bool],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> FetchResult:
        """Fetches a URL, follows redirects and returns the last response.

        ``accepts`` returns True for a content type that the tool can read (``""``: none given). With a ``body`` it is a
        POST, and redirects are not followed. ``headers`` are sent only to the origin of ``url``. Raises ``ToolFailed``.
        """
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                return await self._follow(url, accepts, body, headers or {}, max_bytes)
        except TimeoutError:
            raise ToolFailed(f"The response was not complete within {FETCH_TIMEOUT:g} seconds.") from None
        except UrlRefused as refused:
            raise ToolFailed(str(refused)) from None

    async def close(self) -> None:
        """Closes all connections."""
        await self._transport.close()

    async def _follow(
        self, url: str, accepts: Callable[[str], bool], body: bytes | None, headers: Mapping[str, str], most: int
    ) -> FetchResult:
        where = first = self._egress.parse_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            own = headers if where.origin == first.origin else {}
            try:
                async with await self._transport.send(_make_request(where, body, own)) as reply:
                    if reply.status not in _REDIRECTS or body is not None:
                        return await _read(reply, where, accepts, most)
                    target = reply.headers.get("Location", "")
            except LLMError as error:  # the messages of the transport call every server a provider
                raise ToolFailed(error.message.replace("The provider", where.host)) from None
            if not target:
                raise ToolFailed(f"{where.host} sent a redirect without a target.")
            where = self._egress.parse_url(_join_url(where.url, target))
        raise ToolFailed(f"{first.host} redirects more than {MAX_REDIRECTS} times.")


def _join_url(base: str, target: str) -> str:
    """Resolves a ``Location`` header, read as Latin-1, in which a non-ASCII URL is UTF-8. Raises ``UrlRefused``."""
    try:
        return urljoin(base, target.strip().encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise UrlRefused("The target of the redirect is not a URL.") from None


def _make_request(where: FetchUrl, body: bytes | None, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest(
        method="GET" if body is None else "POST", url=where.url, headers={**_HEADERS, **headers}, body=body
    )


async def _read(reply: HttpResponse, where: FetchUrl, accepts: Callable[[str], bool], most: int) -> FetchResult:
    if not 200 <= reply.status < 300:
        raise ToolFailed(f"{where.host} answered with status {reply.status}.")
    header = reply.headers.get("Content-Type", "")
    found = _TYPE.match(header)
    content_type = found[1].lower() if found else ""
    if not accepts(content_type):
        raise ToolFailed(f"{where.host} sent {content_type or 'an unknown type'}, which this tool cannot read.")
    charset = _CHARSET.search(header)
    return FetchResult(where.host, content_type, charset[1] if charset else "", await reply.read(most))
