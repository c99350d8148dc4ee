"""What can go wrong, ordered by who has to act.

::

    LLMError
    ├ RequestError                 the caller changes the request
    │ ├ InvalidRequest        400  bad_request
    │ ├ Unsupported           400  unsupported            names the option
    │ ├ OtherApi              400  unsupported            the engine has another API for it
    │ ├ ContextTooLong        400  context_length
    │ ├ ContentBlocked        400  content_filter
    │ ├ EngineNotConfigured   400  engine_not_configured
    │ ├ NotFound              404  not_found
    │ ├ UnknownModel          404  model_not_found
    │ └ TooLarge              413  too_large
    ├ AccessError                  whoever owns the key acts
    │ ├ NotAuthenticated      401  unauthorized           no client id and no key, or the caller's own key was refused
    │ ├ QuotaExceeded         402  quota_exceeded         the caller's own key has no credit
    │ ├ EngineRefusedKey      502  provider_auth          the server's own key was refused (or has no credit)
    │ └ EngineForbids         502  provider_permission    the server's own key may not do this
    ├ EngineError                  the engine is at fault
    │ ├ RateLimited           429  rate_limited           retryable
    │ ├ EngineFailed          502  provider_error         retryable
    │ ├ EngineUnreachable     502  provider_unreachable   retryable
    │ ├ Truncated             502  upstream_truncated
    │ ├ Malformed             502  upstream_malformed
    │ ├ Overloaded            503  provider_overloaded    retryable
    │ ├ ConnectTimeout        504  connect_timeout        retryable
    │ ├ FirstByteTimeout      504  first_byte_timeout
    │ └ IdleTimeout           504  idle_timeout
    └ ServerError                  we are
      ├ Internal              500  internal
      ├ Draining              503  draining
      ├ Cancelled             499  cancelled              in logs only: the client is gone
      ├ StorageFailed         503  storage_failed         the disk or the database is locked, full or broken
      ├ ThreadFull            409  thread_full            a thread has the size that one may have
      └ ToolLimit             502  tool_limit             in-stream only

The status is the one of our own answer; what the engine said itself is kept in ``provider``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True)
class ProviderSaid:
    """The engine's own words for its error, unprefixed; ``status`` is 0 where the error came inside a stream."""

    status: int = 0
    code: str | None = None
    type: str | None = None
    message: str | None = None

    def as_json(self) -> dict[str, str | int | None]:
        said: dict[str, str | int | None] = {"status": self.status, "code": self.code, "message": self.message}
        if self.type is not None:
            said["type"] = self.type
        return said


class LLMError(Exception):
    """``str()`` is a sentence for the person who can act, without our internals and without any key."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        engine: str | None = None,
        provider: ProviderSaid | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.engine = engine
        self.provider = provider
        self.param = param  # the field of the request at fault, where one is known
        self.retry_after = retry_after  # seconds
        self.headers: dict[str, str] = dict(headers or {})  # the engine's headers worth passing on (E1)


class RequestError(LLMError):
    status = 400
    code = "bad_request"


class InvalidRequest(RequestError):
    pass


class Unsupported(RequestError):
    code = "unsupported"


class OtherApi(RequestError):
    """The engine wants this over its other API (``llm.engines.api_choice``)."""

    code = "unsupported"


class ContextTooLong(RequestError):
    code = "context_length"


class ContentBlocked(RequestError):
    code = "content_filter"


class EngineNotConfigured(RequestError):
    code = "engine_not_configured"


class NotFound(RequestError):
    status = 404
    code = "not_found"


class UnknownModel(RequestError):
    status = 404
    code = "model_not_found"


class TooLarge(RequestError):
    status = 413
    code = "too_large"


class AccessError(LLMError):
    status = 401
    code = "unauthorized"


class NotAuthenticated(AccessError):
    pass


class QuotaExceeded(AccessError):
    status = 402
    code = "quota_exceeded"


class EngineRefusedKey(AccessError):
    status = 502
    code = "provider_auth"


class EngineForbids(AccessError):
    status = 502
    code = "provider_permission"


class EngineError(LLMError):
    status = 502
    code = "provider_error"


class RateLimited(EngineError):
    status = 429
    code = "rate_limited"
    retryable = True


class EngineFailed(EngineError):
    retryable = True


class EngineUnreachable(EngineError):
    code = "provider_unreachable"
    retryable = True


class Truncated(EngineError):
    code = "upstream_truncated"


class Malformed(EngineError):
    code = "upstream_malformed"


class Overloaded(EngineError):
    status = 503
    code = "provider_overloaded"
    retryable = True


class ConnectTimeout(EngineError):
    status = 504
    code = "connect_timeout"
    retryable = True


class FirstByteTimeout(EngineError):
    status = 504
    code = "first_byte_timeout"


class IdleTimeout(EngineError):
    status = 504
    code = "idle_timeout"


class ServerError(LLMError):
    pass


class Internal(ServerError):
    pass


class Draining(ServerError):
    status = 503
    code = "draining"


class Cancelled(ServerError):
    status = 499
    code = "cancelled"


class StorageFailed(ServerError):
    status = 503
    code = "storage_failed"


class ThreadFull(ServerError):
    status = 409
    code = "thread_full"


class ToolLimit(ServerError):
    status = 502
    code = "tool_limit"


# 413 is the engine's own limit; 409 is a lock time-out (OpenAI), 498 no flex capacity (Groq), 529 overload (Anthropic).
_BY_STATUS: Final[Mapping[int, type[LLMError]]] = {
    401: EngineRefusedKey,
    402: QuotaExceeded,
    403: EngineForbids,
    404: UnknownModel,
    408: EngineFailed,
    409: EngineFailed,
    413: TooLarge,
    429: RateLimited,
    498: Overloaded,
    503: Overloaded,
    529: Overloaded,
}

# 429 with one of these is an empty account, which waiting does not fill (OpenAI, Anthropic).
_NO_CREDIT: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
        "billing_hard_limit_reached",
    }
)


def by_status(status: int, *codes: str | None) -> type[LLMError]:
    """The class for an engine's HTTP status, refined by its own codes where they say more.

    >>> by_status(429, "insufficient_quota").code
    'quota_exceeded'
    """
    if status == 429 and not _NO_CREDIT.isdisjoint(codes):
        return QuotaExceeded
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InvalidRequest if 400 <= status < 500 else EngineFailed


_KEPT_HEADERS: Final = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "request-id"})
_KEPT_PREFIXES: Final = ("x-ratelimit-", "anthropic-ratelimit-")


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of an engine's headers that its client should see (E1).

    ``x-request-id`` names our own request, so the engine's goes out as ``x-provider-request-id``.
    """
    kept = {}
    for name, value in headers.items():
        low = name.lower()
        if low in _KEPT_HEADERS or low.startswith(_KEPT_PREFIXES):
            kept[low] = value
        elif low == "x-request-id":
            kept["x-provider-request-id"] = value
    return kept
