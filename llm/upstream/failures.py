"""Errors of engines: read from an answer, and mapped to whoever has to act."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Target
from llm.errors import (
    EngineError,
    EngineFailed,
    EngineForbids,
    EngineRefusedKey,
    LLMError,
    NotAuthenticated,
    ProviderSaid,
    QuotaExceeded,
    kept_headers,
)
from llm.log import is_secret, mask
from llm.transport.interface import HttpReply

MAX_ERROR: Final = 1024 * 1024  # bytes, of an error's body
ERROR_TIME: Final = 10.0  # seconds that it may take


async def read_failure(reply: HttpReply, target: Target) -> LLMError:
    """The error that an answer with a failing status tells."""
    if 300 <= reply.status < 400:
        return EngineFailed(f"{target.engine.label} answered with a redirect, which is not followed.")
    dialect = ENGINE_DIALECTS[target.engine.dialect]
    error = dialect.read_error(reply.status, await _error_body(reply), target.engine)
    error.headers = kept_headers(reply.headers)
    told = retry_after(reply.headers, time.time())
    if told is not None:
        error.retry_after = told
    return error


async def _error_body(reply: HttpReply) -> bytes:
    """Nothing where it breaks, or does not come to an end: the status counts whatever becomes of its body."""
    try:
        async with asyncio.timeout(ERROR_TIME):
            return await reply.read(MAX_ERROR)
    except (EngineError, TimeoutError):
        return b""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after``, the latter in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit, now)
        if seconds is not None and math.isfinite(seconds):  # it is told to the client, in JSON
            return max(seconds, 0.0)
    return None


def _seconds(value: str, unit: float, now: float) -> float | None:
    with suppress(ValueError):
        return float(value) * unit
    with suppress(ValueError, OverflowError):  # OverflowError: a date of no calendar
        return parsedate_to_datetime(value).timestamp() - now
    return None


def blamed(error: LLMError, target: Target) -> LLMError:
    """The same error, told to whoever has to act: a caller's own key is the caller's to mend, the server's is not."""
    error.engine = error.engine or target.engine.name
    _mask(error, target.key)
    if target.own_key and isinstance(error, EngineRefusedKey | EngineForbids):
        return _as(NotAuthenticated, error)
    if not target.own_key and isinstance(error, QuotaExceeded):
        return _as(EngineRefusedKey, error)
    return error


def _mask(error: LLMError, key: str | None) -> None:
    """Some providers repeat the key that they were given (X4)."""
    said = error.provider
    texts = (error.message, *((said.code, said.type, said.message) if said else ()))
    if not is_secret(key) or not any(text and key in text for text in texts):
        return
    error.message = mask(error.message, key)
    error.args = (error.message,)
    if said is not None:
        code, kind, message = (text and mask(text, key) for text in (said.code, said.type, said.message))
        error.provider = ProviderSaid(said.status, code, kind, message)


def _as(kind: type[LLMError], error: LLMError) -> LLMError:
    return kind(
        error.message,
        engine=error.engine,
        provider=error.provider,
        param=error.param,
        retry_after=error.retry_after,
        headers=error.headers,
    )
