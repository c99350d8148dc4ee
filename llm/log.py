"""One JSON line for each request at its end, on standard error, without secrets.

No bodies, no header values, no prompts at any level. The redaction here is the last net: keys are taken out of a body
before any handler sees it. A line that cannot be written, or not at once, is lost and counted: no request waits for the
log, nor fails with it (O2).
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeGuard

log: Final = logging.getLogger("llm")

MASK: Final = "***"  # in place of a key
# Characters of a key from which on it is masked. Every provider's own keys have 20 and more; what is shorter is a
# placeholder for servers that check none (EMPTY, ollama, token-abc123), and occurs in texts and JSON by chance.
MIN_SECRET: Final = 16

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
_NUMBERS: Final = frozenset({int, float, bool, type(None)})

# What keys look like, for those that only a caller knows: OpenAI-like, Google, Hugging Face, Groq, xAI, bearer tokens.
_KEY: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|csk|tvly|tgp|r8)[-_][A-Za-z0-9_-]{8,}|\bAIza[A-Za-z0-9_-]{20,}|(?<=[Bb]earer )[^\s\"']+"
)


def mask(text: str, key: str | None) -> str:
    """The text of an error without the key, which some providers repeat (X4)."""
    return text.replace(key, MASK) if is_secret(key) else text


def is_secret(key: str | None) -> TypeGuard[str]:
    """Whether a key is long enough to be one."""
    return key is not None and len(key) >= MIN_SECRET


class Redactor:
    """Masks known secrets and whatever looks like a key."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted((re.escape(s) for s in secrets if is_secret(s)), key=len, reverse=True)
        self._known = re.compile("|".join(known)) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _KEY.sub(MASK, text)

    def finds(self, text: str) -> bool:
        """Whether there is something to mask."""
        return (self._known is not None and self._known.search(text) is not None) or _KEY.search(text) is not None


class JsonLines(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(int(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line if self._is_clean(line) else self._clean(line))

    def _is_clean(self, line: Mapping[str, Any]) -> bool:
        """As nearly all are: numbers, and texts that hold no secret, which one search for all of them tells."""
        texts = []
        for value in line.values():
            if type(value) is str:
                texts.append(value)
            elif type(value) not in _NUMBERS:
                return False
        return not self._redact.finds("\n".join(texts))

    def _clean(self, value: Any) -> Any:
        """Redacted before it is written as JSON, whose escapes would hide a secret or be torn by its mask."""
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {str(name): self._clean(one) for name, one in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(one) for one in value]
        return self._redact(str(value))


@lru_cache(maxsize=1)
def _moment(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))


class Lines(logging.Handler):
    """Writes to a file descriptor what it takes at once: a full disk, a closed pipe, or one that nobody reads, is no
    reason to wait. ``lost`` counts the lines; when one can be written again, another one before it says how many.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.lost = 0
        self._fd = fd
        self._told = 0  # of those that are lost
        self._torn = False  # half a line stands there
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record) + "\n"
        if self._told < (lost := self.lost):
            missing = logging.LogRecord(log.name, logging.ERROR, "", 0, "log", None, None)
            missing.fields = {"lost": lost - self._told}
            line = self.format(missing) + "\n" + line
        data = (b"\n" if self._torn else b"") + line.encode("utf-8", "backslashreplace")
        sent = self._send(data)
        if sent == len(data):
            self._told, self._torn = lost, False
        else:
            self.lost += 1
            self._torn = self._torn or sent > 0

    def _send(self, data: bytes) -> int:
        """Returns how much went out."""
        sent = 0
        try:
            while sent < len(data) and self._poll.poll(0):
                sent += os.write(self._fd, data[sent : sent + select.PIPE_BUF])  # which a pipe takes if it takes any
        except OSError:
            pass
        return sent


def lost_lines() -> int:
    """So many of this process."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, Lines))


def setup(secrets: Iterable[str] = (), level: int = logging.INFO) -> None:
    """Sends every logger's records through :class:`JsonLines` to standard error."""
    try:
        handler: logging.Handler = Lines(sys.stderr.fileno()) if sys.stderr is not None else logging.NullHandler()
    except OSError:  # it was replaced by something that is no file
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(Redactor(secrets)))
    # What no line tells does not have to be found out for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level)


def write(event: str, level: int = logging.INFO, *, exc_info: BaseException | None = None, **fields: Any) -> None:
    """``write("chat", id=…, status=200)``; fields that are None are left out."""
    if not log.isEnabledFor(level):
        return
    # Not by ``log.log``, which goes up the stack to find out which line wrote this: ours do not tell that.
    trace = None if exc_info is None else (type(exc_info), exc_info, exc_info.__traceback__)
    record = logging.LogRecord(log.name, level, "", 0, event, None, trace)
    record.fields = {name: value for name, value in fields.items() if value is not None}
    log.handle(record)
