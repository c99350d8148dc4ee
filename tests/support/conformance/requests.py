"""All cases of requests."""

from __future__ import annotations

from typing import Final

from tests.support.conformance import requests_connections, requests_framing, requests_lines
from tests.support.conformance.case import RequestCase

GROUPS: Final[dict[str, tuple[RequestCase, ...]]] = {
    "Lengths": requests_framing.LENGTHS,
    "Transfer codings": requests_framing.CODINGS,
    "Chunks": requests_framing.CHUNKS,
    "Header lines": requests_lines.HEADERS,
    "Host": requests_lines.HOSTS,
    "Methods": requests_lines.METHODS,
    "Targets": requests_lines.TARGETS,
    "Request lines": requests_lines.LINES,
    "Versions": requests_lines.VERSIONS,
    "Connections": requests_connections.CONNECTIONS,
    "Expectations": requests_connections.EXPECTATIONS,
    "Answers": requests_connections.ANSWERS,
    "Header fields": requests_connections.FIELDS,
    "Timeouts": requests_connections.SLOW,
}
REQUESTS: Final = tuple(case for group in GROUPS.values() for case in group)
