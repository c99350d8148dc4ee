"""Errors of engines: reads them from a response and attributes key errors to the owner of the key."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, Final

from llm.config.engines import variable_name
from llm.dialects.registry import ENGINE_WIRES
from llm.engines.engine import Target
from llm.errors import (
    AccessError,
    EngineError,
    EngineFailed,
    EngineForbids,
    EngineRefusedKey,
    LLMError,
    NotAuthenticated,
    QuotaExceeded,
    UnknownModel,
)
from llm.log import is_secret, mask
from llm.transport.interface import HttpResponse
from llm.wire.json_codec import loads

MAX_ERROR_BODY: Final = 1024 * 1024  # bytes of an error body
MAX_KEPT_BODY: Final = 64 * 1024  # bytes of an error body whose fields are passed on
# A key, or a part of one, that a provider repeats.
KEY_PATTERN: Final = re.compile(r"\b(?:sk|pk|gsk|xai|hf|csk|tgp)[-_][A-Za-z0-9_*-]{4,}")
# What web servers and frameworks answer for a path that they do not have; HTML is not in the message.
_WRONG_PATH: Final = re.compile(r"(?:404 )?(?:page |file )?not found\.?|.{1,60} answered with status 404\.", re.I)
ERROR_BODY_TIMEOUT: Final = 10.0  # seconds to read an error body
_CLIENT_HEADERS: Final = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "request-id"})
_CLIENT_PREFIXES: Final = ("x-ratelimit-", "anthropic-ratelimit-")


def select_client_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Selects the engine's response headers for the client: rate limits, retry times, request ids (E1).

    ``x-request-id`` is this server's own, so the engine's is renamed to ``x-provider-request-id``.
    """
    selected = {}
    for name, value in headers.items():
        low = name.lower()
        if low in _CLIENT_HEADERS or low.startswith(_CLIENT_PREFIXES):
            selected[low] = value
        elif low == "x-request-id":
            selected["x-provider-request-id"] = value
    return selected


async def read_failure(reply: HttpResponse, target: Target) -> LLMError:
    """Reads the error of a response whose status is not 2xx."""
    if 300 <= reply.status < 400:
        message = f"{target.engine.label} answered with a redirect; redirects are not followed."
        return EngineFailed(message, headers={"x-should-retry": "false"})
    body = await _read_error_body(reply)
    error = ENGINE_WIRES[target.engine.dialect].read_error(reply.status, body, target.engine)
    if isinstance(error, UnknownModel) and _WRONG_PATH.fullmatch(error.message):
        variable = variable_name(target.engine.name, "BASE_URL")
        error.message = f"{error.message.rstrip('.')}: the base URL of {target.engine.label}, {variable}, may be wrong."
        error.args = (error.message,)
    keep_body(error, body, target)
    error.headers = select_client_headers(reply.headers)
    seconds = read_retry_after(reply.headers, time.time())
    if seconds is not None:
        error.retry_after = seconds
    return error


def keep_body(error: LLMError, body: bytes, target: Target) -> None:
    """Keeps the JSON of an error, for clients of the same dialect; not where it concerns the server's own key."""
    servers_key = isinstance(error, AccessError) and not target.is_callers_key
    if error.provider is None or servers_key or len(body) > MAX_KEPT_BODY:
        return
    with suppress(ValueError):
        wire = loads(body)
        if isinstance(wire, dict):
            kept = _map_texts(wire, lambda text: KEY_PATTERN.sub("***", text))
            error.provider = replace(error.provider, dialect=target.engine.dialect, body=kept)


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Returns JSON with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _map_texts(one, change) for name, one in value.items()}
    return [_map_texts(one, change) for one in value] if isinstance(value, list) else value


async def _read_error_body(reply: HttpResponse) -> bytes:
    """Returns b"" for a body that is broken, too long or too slow: the status alone is enough for an error."""
    try:
        async with asyncio.timeout(ERROR_BODY_TIMEOUT):
            return await reply.read(MAX_ERROR_BODY)
    except (EngineError, TimeoutError):
        return b""


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Reads the seconds to wait from ``retry-after-ms`` or ``retry-after`` (seconds or a date); None if absent.

    ``now``: seconds since 1970.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _parse_seconds(headers.get(name, ""), unit, now)
        if seconds is not None and math.isfinite(seconds):  # clients get the value in JSON, which has no infinity
            return max(seconds, 0.0)
    return None


def _parse_seconds(value: str, unit: float, now: float) -> float | None:
    with suppress(ValueError):
        return float(value) * unit
    with suppress(ValueError, OverflowError):  # OverflowError: a date out of range
        return parsedate_to_datetime(value).timestamp() - now
    return None


def attribute_error(error: LLMError, target: Target) -> LLMError:
    """Maps a key error to the key's owner: 401 for the caller's own key, 502 for the server's.

    Also sets the engine's name and masks the key. All other errors are returned as they are.
    """
    error.engine = error.engine or target.engine.name
    _mask_key(error, target.key)
    if target.is_callers_key and isinstance(error, EngineRefusedKey | EngineForbids):
        return _convert(NotAuthenticated, error)
    if not target.is_callers_key and isinstance(error, QuotaExceeded):
        error = _convert(EngineRefusedKey, error)
        _name_servers_key(error, target, "has no credit left for")
    elif not target.is_callers_key and isinstance(error, EngineRefusedKey):
        _name_servers_key(error, target, "refused" if target.key else "needs")
    return error


def _name_servers_key(error: LLMError, target: Target, verb: str) -> None:
    """Begins the message with whose key it is, and by which variable its owner sets it."""
    engine = target.engine
    start = f"{engine.label} {verb} this server's key, {variable_name(engine.name, 'API_KEY')}"
    if not error.message.startswith(start):
        error.message = f"{start}: {error.message}"
        error.args = (error.message,)


def _mask_key(error: LLMError, key: str | None) -> None:
    """Masks the key in the texts of an error: some providers repeat it (X4)."""
    provider = error.provider
    texts = (error.message, *((provider.code, provider.type, provider.message) if provider else ()))
    body = provider.body if provider else {}
    if not is_secret(key) or not (body or any(text and key in text for text in texts)):
        return
    error.message = mask(error.message, key)
    error.args = (error.message,)
    if provider is not None:
        code, kind, message = (text and mask(text, key) for text in (provider.code, provider.type, provider.message))
        body = _map_texts(body, lambda text: mask(text, key))
        error.provider = replace(provider, code=code, type=kind, message=message, body=body)


def _convert(kind: type[LLMError], error: LLMError) -> LLMError:
    return kind(
        error.message,
        engine=error.engine,
        provider=error.provider,
        param=error.param,
        retry_after=error.retry_after,
        headers=error.headers,
    )
