"""The errors of the server, ordered by who has to act.

::

    LLMError
    ├ RequestError                 the caller changes the request
    │ ├ InvalidRequest        400  bad_request
    │ ├ Unsupported           400  unsupported            names the option
    │ ├ OtherApi              400  unsupported            the engine supports it only in its other API
    │ ├ UsageRefused          400  bad_request            the engine does not know ``stream_options``
    │ ├ ContextTooLong        400  context_length
    │ ├ ContentBlocked        400  content_filter
    │ ├ EngineNotConfigured   400  engine_not_configured
    │ ├ PreviousResponseNotFound 400  previous_response_not_found
    │ ├ NotFound              404  not_found
    │ ├ UnknownModel          404  model_not_found
    │ ├ BodyTimeout           408  bad_request            the body stood still or came too slowly
    │ ├ TooLarge              413  too_large
    │ ├ UnsupportedEncoding   415  unsupported            names the Content-Encoding
    │ ├ KeyReused             422  bad_request            the Idempotency-Key belongs to another body
    │ ├ NotOffered            501  unsupported            the engine of the request has no such function
    │ └ WebSocketNotServed    426  bad_request            the client asks by HTTP
    ├ AccessError                  the owner of the key acts
    │ ├ NotAuthenticated      401  unauthorized           no client id and no key, or the caller's own key was refused
    │ ├ QuotaExceeded         402  quota_exceeded         the caller's own key has no credit
    │ ├ EngineRefusedKey      502  provider_auth          the server's own key was refused (or has no credit)
    │ └ EngineForbids         502  provider_permission    the server's own key may not do this
    ├ EngineError                  the engine is at fault
    │ ├ RateLimited           429  rate_limited           retryable
    │ ├ EngineFailed          502  provider_error         retryable
    │ ├ EngineUnreachable     502  provider_unreachable   retryable
    │ ├ NoResponse            502  provider_unreachable   it may have read the request
    │ ├ Truncated             502  upstream_truncated
    │ ├ Malformed             502  upstream_malformed
    │ ├ Overloaded            503  provider_overloaded    retryable
    │ ├ ConnectTimeout        504  connect_timeout        retryable
    │ ├ FirstByteTimeout      504  first_byte_timeout
    │ └ IdleTimeout           504  idle_timeout
    └ ServerError                  this server is at fault
      ├ Internal              500  internal
      ├ Draining              503  draining
      ├ Cancelled             499  cancelled              in logs only: the client has disconnected
      ├ StorageFailed         503  storage_failed         the disk or the database is locked, full or broken
      ├ ThreadFull            409  thread_full            the thread has reached its maximal size
      └ ToolLimit             502  tool_limit             in-stream only

The status is that of the response to the client. The engine's own error is in ``provider``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class ProviderErrorDetails:
    """The engine's own error, unchanged. ``status`` is 0 for an error inside of a stream."""

    status: int = 0
    code: str | None = None
    type: str | None = None
    message: str | None = None
    dialect: str = ""  # of the engine
    body: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # the JSON of the response

    def as_json(self) -> dict[str, str | int | None]:
        """Returns the fields for the ``provider`` object of an error response."""
        fields: dict[str, str | int | None] = {"status": self.status, "code": self.code, "message": self.message}
        if self.type is not None:
            fields["type"] = self.type
        return fields

    def select_fields(self, dialects: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the fields of the body and of its error object, for clients of the engine's own dialect."""
        if self.dialect not in dialects:
            return {}, {}
        inner = self.body.get("error")
        outer = {name: value for name, value in self.body.items() if name != "error"}
        return outer, dict(inner) if isinstance(inner, dict) else {}


# What an engine lacks in the API by which it was asked, but may have in its other one: the API itself, tools other than
# functions, or the model.
Lack: TypeAlias = Literal["", "api", "tools", "model"]


class LLMError(Exception):
    """The base of all errors. ``str()`` is a sentence for the person who can act, without internals and keys."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        engine: str | None = None,
        provider: ProviderErrorDetails | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.engine = engine
        self.provider = provider
        self.param = param  # the request field that caused the error, if known
        self.retry_after = retry_after  # seconds
        self.headers: dict[str, str] = dict(headers or {})  # the engine's headers for the client (E1)
        self.lack: Lack = ""


class RequestError(LLMError):
    """The caller has to change the request."""

    status = 400
    code = "bad_request"


class InvalidRequest(RequestError):
    """The request is invalid."""


class Unsupported(RequestError):
    """The engine or model does not support an option or content of the request."""

    code = "unsupported"


class OtherApi(RequestError):
    """The engine supports this request only in its other API (``llm.engines.api_choice``)."""

    code = "unsupported"


class UsageRefused(RequestError):
    """The engine refused the option by which a stream reports its usage (``llm.upstream.retry``)."""


class ContextTooLong(RequestError):
    """The input is longer than the model's context."""

    code = "context_length"


class ContentBlocked(RequestError):
    """A content filter of the provider refused the request."""

    code = "content_filter"


class EngineNotConfigured(RequestError):
    """There is no key or URL for the engine."""

    code = "engine_not_configured"


class PreviousResponseNotFound(RequestError):
    """The response that a request continues is unknown, another caller's or gone."""

    code = "previous_response_not_found"


class NotFound(RequestError):
    """There is no such path or object."""

    status = 404
    code = "not_found"


class UnknownModel(RequestError):
    """There is no such model."""

    status = 404
    code = "model_not_found"


class TooLarge(RequestError):
    """The request is above a size limit of the server or the engine."""

    status = 413
    code = "too_large"


class BodyTimeout(RequestError):
    """The body of the request did not arrive in time."""

    status = 408


class UnsupportedEncoding(RequestError):
    """The body is compressed in a way that cannot be read here."""

    status = 415
    code = "unsupported"


class KeyReused(RequestError):
    """The ``Idempotency-Key`` of the request belongs to another body."""

    status = 422


class NotOffered(RequestError):
    """The engine of the request has no such function."""

    status = 501
    code = "unsupported"


class WebSocketNotServed(RequestError):
    """The client asked for a WebSocket where there is none."""

    status = 426


class AccessError(LLMError):
    """The owner of a key has to act."""

    status = 401
    code = "unauthorized"


class NotAuthenticated(AccessError):
    """The caller has no valid client id or key."""


class QuotaExceeded(AccessError):
    """The account of the key has no credit."""

    status = 402
    code = "quota_exceeded"


class EngineRefusedKey(AccessError):
    """The engine refused the server's key."""

    status = 502
    code = "provider_auth"


class EngineForbids(AccessError):
    """The engine does not permit this request with the server's key."""

    status = 502
    code = "provider_permission"


class EngineError(LLMError):
    """The engine is at fault."""

    status = 502
    code = "provider_error"


class RateLimited(EngineError):
    """The engine's rate limit was reached."""

    status = 429
    code = "rate_limited"
    retryable = True


class EngineFailed(EngineError):
    """The engine reported an internal error."""

    retryable = True


class EngineUnreachable(EngineError):
    """No connection to the engine, or it was closed before the engine can have read the request."""

    code = "provider_unreachable"
    retryable = True


class NoResponse(EngineError):
    """The connection ended after the whole request was sent: the engine may have read it and may bill it."""

    code = "provider_unreachable"


class Truncated(EngineError):
    """The engine's response ended before it was complete."""

    code = "upstream_truncated"


class Malformed(EngineError):
    """The engine's response is invalid."""

    code = "upstream_malformed"


class Overloaded(EngineError):
    """The engine is overloaded."""

    status = 503
    code = "provider_overloaded"
    retryable = True


class ConnectTimeout(EngineError):
    """Connecting to the engine took too long."""

    status = 504
    code = "connect_timeout"
    retryable = True


class FirstByteTimeout(EngineError):
    """The engine's response did not begin in time."""

    status = 504
    code = "first_byte_timeout"


class IdleTimeout(EngineError):
    """The engine's response stopped for too long."""

    status = 504
    code = "idle_timeout"


class ServerError(LLMError):
    """This server is at fault."""


class Internal(ServerError):
    """A bug in this server."""


class Draining(ServerError):
    """The server is shutting down and accepts no new requests."""

    status = 503
    code = "draining"


class Cancelled(ServerError):
    """The client disconnected; only in logs."""

    status = 499
    code = "cancelled"


class StorageFailed(ServerError):
    """The disk or the database is locked, full or broken."""

    status = 503
    code = "storage_failed"


class ThreadFull(ServerError):
    """The thread has reached its maximal size."""

    status = 409
    code = "thread_full"


class ToolLimit(ServerError):
    """The tool loop reached its limit of rounds; only inside of a stream."""

    status = 502
    code = "tool_limit"
