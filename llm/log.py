"""Logging: one JSON line per request on standard error, written when it ends, without secrets.

Bodies, header values and prompts are not logged at any level. The redaction here is the last defence: keys are removed
from a body before a handler gets it. A line that cannot be written at once is dropped and counted, so that a request
never waits for the log and never fails because of it (O2).
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

MASK: Final = "***"  # replaces a key
# Minimal characters of a key that is masked. Keys of providers have at least 20. Shorter ones are placeholders
# for servers without keys (EMPTY, ollama, token-abc123), which also occur in texts and JSON by chance.
MIN_SECRET: Final = 16

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
# Characters that JSON may hold as they are, and that control a terminal or end a line for some readers.
_CONTROL: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NUMBERS: Final = frozenset({int, float, bool, type(None)})

# The formats of keys, to mask those of callers: OpenAI-like, Google, Hugging Face, Groq, xAI, bearer tokens.
_KEY: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|csk|tvly|tgp|r8)[-_][A-Za-z0-9_-]{8,}|\bAIza[A-Za-z0-9_-]{20,}|(?<=[Bb]earer )[^\s\"']+"
)


def mask(text: str, key: str | None) -> str:
    """Replaces ``key`` in the text of an error, because some providers repeat the key there (X4)."""
    return text.replace(key, MASK) if is_secret(key) else text


def is_secret(key: str | None) -> TypeGuard[str]:
    """True if ``key`` is long enough to be a real key and not a placeholder."""
    return key is not None and len(key) >= MIN_SECRET


class Redactor:
    """Masks the given secrets and all texts in the format of a key."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted((re.escape(s) for s in secrets if is_secret(s)), key=len, reverse=True)
        self._known = re.compile("|".join(known)) if known else None

    def __call__(self, text: str) -> str:
        """Returns ``text`` with all secrets masked."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _KEY.sub(MASK, text)

    def has_secret(self, text: str) -> bool:
        """True if ``text`` contains a secret."""
        return (self._known is not None and self._known.search(text) is not None) or _KEY.search(text) is not None


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON without secrets."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line: time, level, event, the record's ``fields``, and ``trace`` for an exception."""
        line: dict[str, Any] = {
            "time": _format_time(int(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        text = _ENCODER.encode(line if self._is_clean(line) else self._redact_value(line))
        if text.isascii() and "\x7f" not in text:
            return text
        return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    def _is_clean(self, line: Mapping[str, Any]) -> bool:
        """True if the line has only numbers and texts without secrets, found by one search for all texts."""
        texts = []
        for value in line.values():
            if type(value) is str:
                texts.append(value)
            elif type(value) not in _NUMBERS:
                return False
        return not self._redact.has_secret("\n".join(texts))

    def _redact_value(self, value: Any) -> Any:
        """Masks secrets in a value before JSON encoding, because JSON escapes could hide a secret."""
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {str(name): self._redact_value(item) for name, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._redact_value(item) for item in value]
        return self._redact(str(value))


@lru_cache(maxsize=1)
def _format_time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))


class NonBlockingHandler(logging.Handler):
    """Writes lines to a file descriptor without blocking.

    A line is lost if the disk is full, or the pipe is closed or full; ``lost`` counts these lines. The next line that
    can be written is preceded by one with the event "log" and the number of lost lines.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.lost = 0
        self._fd = fd
        self._reported = 0  # lost lines that are reported in the log
        self._torn = False  # the last line was written in part
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, or counts it as lost."""
        line = self.format(record) + "\n"
        if self._reported < (lost := self.lost):
            report = logging.LogRecord(log.name, logging.ERROR, "", 0, "log", None, None)
            report.fields = {"lost": lost - self._reported}
            line = self.format(report) + "\n" + line
        data = (b"\n" if self._torn else b"") + line.encode("utf-8", "backslashreplace")
        sent = self._send(data)
        if sent == len(data):
            self._reported, self._torn = lost, False
        else:
            self.lost += 1
            self._torn = self._torn or sent > 0

    def _send(self, data: bytes) -> int:
        """Returns the number of bytes written."""
        sent = 0
        try:
            while sent < len(data) and self._poll.poll(0):
                sent += os.write(
                    self._fd, data[sent : sent + select.PIPE_BUF]
                )  # a pipe that is writable has space for PIPE_BUF bytes
        except OSError:
            pass
        return sent


def count_lost_lines() -> int:
    """Returns the number of lost log lines of this process."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, NonBlockingHandler))


def setup(secrets: Iterable[str] = (), level: int = logging.INFO) -> None:
    """Writes the records of all loggers to standard error, as JSON lines without ``secrets``."""
    try:
        handler: logging.Handler = (
            NonBlockingHandler(sys.stderr.fileno()) if sys.stderr is not None else logging.NullHandler()
        )
    except OSError:  # stderr was replaced by an object without a descriptor
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(Redactor(secrets)))
    # These fields are in no line, so logging need not collect them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level)


def write(event: str, level: int = logging.INFO, *, exc_info: BaseException | None = None, **fields: Any) -> None:
    """Writes one log line, such as ``write("chat", id=…, status=200)``; fields that are None are left out."""
    if not log.isEnabledFor(level):
        return
    # Not by ``log.log``, which inspects the stack for the caller's line number, which is not logged.
    trace = None if exc_info is None else (type(exc_info), exc_info, exc_info.__traceback__)
    record = logging.LogRecord(log.name, level, "", 0, event, None, trace)
    record.fields = {name: value for name, value in fields.items() if value is not None}
    log.handle(record)
