"""Headers and query of a client's request that an engine of the client's own dialect gets too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from tornado.httputil import HTTPServerRequest

from llm.dialects.base import ClientDialect, EngineRequest, add_query
from llm.engines.engine import Target
from llm.upstream.call_record import CallRecord

# Arguments of a query that no engine gets: keys, the version that belongs to an engine's address, and the form of a
# stream, which the engine's dialect chooses.
_PRIVATE_ARGUMENTS: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "access_token", "token", "auth", "api-version", "alt"}
)
_NO_HEADERS: Final[Mapping[str, str]] = {}


def select_headers(request: HTTPServerRequest, dialect: ClientDialect) -> Mapping[str, str]:
    """Returns the headers of the dialect that are forwarded."""
    known = dialect.CLIENT_HEADERS
    if known.spellings.isdisjoint(request.headers):
        return _NO_HEADERS
    return {name.lower(): value for name, value in request.headers.items() if name in known.spellings}


def select_query(query: str) -> str:
    """Returns the arguments of the URL that are forwarded, as they came."""
    pairs = [pair for pair in query.split("&") if pair and pair.isascii() and pair.isprintable()]
    return "&".join(p for p in pairs if unquote(p.partition("=")[0]).lower() not in _PRIVATE_ARGUMENTS)


def forward(
    outgoing: EngineRequest,
    request: HTTPServerRequest,
    dialect: ClientDialect,
    target: Target,
    record: CallRecord,
    query: str | None = None,
) -> EngineRequest:
    """Adds headers and query to a request to an engine of the client's dialect; names headers that it does not get.

    ``query``: instead of the client's own.
    """
    known = dialect.CLIENT_HEADERS
    sent, told = known.select(select_headers(request, dialect), same_dialect=True, own_key=target.is_callers_key)
    record.dropped = (*told, *outgoing.dropped)
    outgoing = replace(outgoing, headers={**outgoing.headers, **sent}) if sent else outgoing
    query = select_query(request.query) if query is None else query
    return add_query(outgoing, query) if query else outgoing
