"""One case of a table: the bytes that are sent, and the outcomes that the standard allows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ANY_END: Final = "*"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server did: its statuses in order, and how the connection ended.

    ``end``: ``kept`` (another request is answered), ``closed``, or ``waits`` (no answer and still open).
    """

    statuses: tuple[int, ...]
    end: str
    bodies: tuple[bytes, ...] = ()  # of the final answers
    heads: tuple[str, ...] = ()  # the header lines of the final answers, in lower case

    def __str__(self) -> str:
        return " ".join([*map(str, self.statuses), self.end])


@dataclass(frozen=True, slots=True)
class RequestCase:
    """A request and what is right.

    ``right``: alternatives separated by `` or ``, each the statuses in order and the end of the connection; ``|``
    stands between statuses that are equally right, ``*`` for any end. ``body``, ``header``: of a 200, if it is one of
    the alternatives that has them. ``parts``: sent one after another, each after an answer to the one before.
    """

    name: str
    section: str  # of an RFC
    parts: tuple[bytes, ...]
    right: str
    body: bytes | None = None  # of the last answer, if its status is 200
    header: str = ""  # a regular expression that the head of the last answer matches
    no_header: str = ""  # one that it does not match
    heads_only: bool = False  # the answers have no bodies (HEAD)
    half_close: bool = False  # the client closes its sending side instead of a probe
    slow: bool = False  # needs servers with short timeouts

    def judge(self, outcome: Outcome) -> bool:
        """Returns whether an outcome is right."""
        if not any(matches(text.split(), outcome) for text in self.right.split(" or ")):
            return False
        if not outcome.heads:
            return True
        if self.body is not None and outcome.statuses[-1] == 200 and outcome.bodies[-1] != self.body:
            return False
        head = outcome.heads[-1]
        return not (self.header and not _has(self.header, head)) and not (self.no_header and _has(self.no_header, head))


def matches(words: list[str], outcome: Outcome) -> bool:
    """Returns whether an outcome is the alternative of these words."""
    *statuses, end = words
    if end not in (ANY_END, outcome.end) or len(statuses) != len(outcome.statuses):
        return False
    return all(str(status) in word.split("|") for word, status in zip(statuses, outcome.statuses, strict=True))


def _has(line: str, head: str) -> bool:
    return re.search(line, head, re.MULTILINE) is not None


def request(
    *lines: str,
    method: str = "GET",
    target: str = "/echo",
    version: str = "HTTP/1.1",
    host: str | None = "Host: x",
    body: bytes = b"",
) -> bytes:
    """Returns a request; only the lines given here and Host are sent."""
    heads = [f"{method} {target} {version}", *([host] if host is not None else []), *lines, "", ""]
    return "\r\n".join(heads).encode("latin-1") + body


def post(*lines: str, body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    """Returns a POST with these header lines and the bytes after its head."""
    return request(*lines, method="POST", body=body, version=version)


def chunked(body: bytes, *lines: str) -> bytes:
    """Returns a POST whose body is these bytes in the chunked coding."""
    return post("Transfer-Encoding: chunked", *lines, body=body)


HELLO: Final = b"5\r\nhello\r\n0\r\n\r\n"
ECHOED: Final = b"POST  hello"
