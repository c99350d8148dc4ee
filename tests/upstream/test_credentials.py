"""Authentication of requests to engines: by key, by a signature over the request, by an awaited token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from llm.dialects.base import EngineRequest
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.errors import EngineUnreachable
from llm.transport.http_client import HttpTransport
from llm.transport.interface import HttpRequest, HttpResponse
from llm.upstream.attempts import request_json
from llm.upstream.call_record import CallRecord
from llm.upstream.credentials import CREDENTIALS, Credentials
from llm.upstream.engine_client import EngineClient
from llm.upstream.retry import RetryPolicy
from tests.support.harness import Connection, Request, Script, ScriptedReply, Upstream

SECRET: Final = "secret of the signer"
OUTGOING: Final = EngineRequest(path="/chat?beta=1", body={"text": "Grüße"})


def signature_of(method: str, url: str, body: bytes) -> str:
    """The signature of a received request; like SigV4, over path, query and host of the URL."""
    parts = urlsplit(url)
    canonical = "\n".join((method, parts.netloc, parts.path, parts.query, hashlib.sha256(body).hexdigest()))
    return hmac.new(SECRET.encode(), canonical.encode(), "sha256").hexdigest()


class Signer:
    """Signs method, URL, headers and body without waiting."""

    def __init__(self) -> None:
        self.targets: list[Target] = []

    def sign(self, request: HttpRequest, target: Target) -> Mapping[str, str]:
        self.targets.append(target)
        signed = ";".join(sorted(request.headers))
        signature = signature_of(request.method, request.url, request.body or b"")
        return {**request.headers, "x-signed-headers": signed, "authorization": f"HMAC {signature}"}


class TokenSource:
    """Waits for a token if there is none; concurrent requests share one fetch."""

    def __init__(self, fetch: Callable[[], Coroutine[Any, Any, str]]) -> None:
        self._fetch = fetch
        self.fetched: asyncio.Task[str] | None = None

    def sign(self, request: HttpRequest, target: Target) -> Awaitable[Mapping[str, str]]:
        if self.fetched is None:
            self.fetched = asyncio.create_task(self._fetch())
        return self._headers(request, self.fetched)

    async def _headers(self, request: HttpRequest, token: asyncio.Task[str]) -> Mapping[str, str]:
        return {**request.headers, "authorization": f"Bearer {await asyncio.shield(token)}"}


class Sent:
    """A transport that records each request, and whether it was sent before or after ``send`` returned."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []

    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        self.requests.append(request)
        return self._answer()

    async def _answer(self) -> HttpResponse:
        return ScriptedReply(200, {"content-type": "application/json"}, [b"{}"])

    async def close(self) -> None: ...


def target_at(url: str, kind: str, **more: Any) -> Target:
    engine = replace(ENGINES["cerebras"], base_url=url, credentials=kind, headers={"x-version": "1"}, **more)
    return Target(engine=engine, model="m", key="sk-key")


def client_of(transport: Any, kind: str, credentials: Credentials, retries: int = 0) -> EngineClient:
    return EngineClient({"http": transport}, RetryPolicy(retries), credentials={**CREDENTIALS, kind: credentials})


def transport() -> HttpTransport:
    return HttpTransport(connect_timeout=5, first_byte_timeout=5, idle_timeout=5)


async def answer_of(client: EngineClient, target: Target, headers: Mapping[str, str] | None = None) -> Any:
    return await request_json(OUTGOING, lambda answer: answer, target, client, CallRecord(), headers)


def authorizing(expected: Callable[[Request], str], fail_first: int = 0) -> Script:
    """401 without the expected ``authorization``; the first requests that have it get 500."""
    left = [fail_first]

    async def script(request: Request, connection: Connection) -> None:
        if request.headers.get("Authorization") != expected(request):
            await connection.respond({"error": {"message": "not authorized"}}, status=401)
        elif left[0]:
            left[0] -= 1
            await connection.respond({"error": {"message": "try again"}}, status=500)
        else:
            await connection.respond({"ok": True})

    return script


@pytest.mark.parametrize("auth", ["Authorization: Bearer {key}", "x-api-key: {key}"])
async def test_a_key_is_sent_in_the_header_of_the_engine_record(auth: str) -> None:
    sent = Sent()
    target = target_at("http://engine.test", "api-key", auth=auth)
    assert await answer_of(EngineClient({"http": sent}), target, {"x-forwarded": "yes"}) == {}
    assert await answer_of(EngineClient({"http": sent}), replace(target, key=None)) == {}
    with_key, without = sent.requests
    name, value = auth.format(key="sk-key").split(": ")
    common = {"accept": "application/json", "x-version": "1", "content-type": "application/json"}
    assert with_key.headers == {**common, "x-forwarded": "yes", name: value}
    assert without.headers == common


async def test_a_request_with_ready_credentials_is_sent_before_any_await() -> None:
    for kind, credentials in (("api-key", CREDENTIALS["api-key"]), ("signed", Signer())):
        sent = Sent()
        pending = client_of(sent, kind, credentials).send(target_at("http://engine.test", kind), OUTGOING)
        assert len(sent.requests) == 1
        await pending


async def test_a_signature_covers_method_url_and_body_as_received_by_the_engine() -> None:
    signer, http = Signer(), transport()

    def expected(request: Request) -> str:
        url = f"http://{request.headers['Host']}{request.path}"
        return f"HMAC {signature_of(request.method, url, request.body)}"

    async with Upstream(authorizing(expected)).run() as upstream:
        target = target_at(upstream.url, "signed")
        assert await answer_of(client_of(http, "signed", signer), target, {"x-forwarded": "yes"}) == {"ok": True}
        await http.close()
    [request] = upstream.requests
    signed = request.headers["x-signed-headers"].split(";")
    assert {"accept", "content-type", "x-forwarded", "x-version"} == set(signed) <= {n.lower() for n in request.headers}
    assert signer.targets == [target]  # with its key, to sign with


async def test_each_retry_is_signed_again() -> None:
    numbers = iter(range(10))

    class Numbered:
        def sign(self, request: HttpRequest, target: Target) -> Mapping[str, str]:
            return {**request.headers, "x-number": str(next(numbers)), "authorization": "signed"}

    http = transport()
    async with Upstream(authorizing(lambda _: "signed", fail_first=1)).run() as upstream:
        client = client_of(http, "numbered", Numbered(), retries=1)
        assert await answer_of(client, target_at(upstream.url, "numbered")) == {"ok": True}
        await http.close()
    assert [request.headers["x-number"] for request in upstream.requests] == ["0", "1"]


async def test_requests_wait_for_one_shared_token() -> None:
    wanted, granted, fetched = asyncio.Event(), asyncio.Event(), 0

    async def fetch() -> str:
        nonlocal fetched
        fetched += 1
        wanted.set()
        await granted.wait()
        return "ya29.token"

    http = transport()
    async with Upstream(authorizing(lambda _: "Bearer ya29.token")).run() as upstream:
        client, target = client_of(http, "token", TokenSource(fetch)), target_at(upstream.url, "token")
        answers = [asyncio.create_task(answer_of(client, target)) for _ in range(3)]
        await wanted.wait()
        assert not upstream.requests
        granted.set()
        assert await asyncio.gather(*answers) == [{"ok": True}] * 3
        await http.close()
    assert fetched == 1


async def test_a_failed_token_fails_the_request_before_it_is_sent() -> None:
    class Failing:
        async def sign(self, request: HttpRequest, target: Target) -> Mapping[str, str]:
            raise EngineUnreachable("The token service cannot be reached.")

    sent = Sent()
    with pytest.raises(EngineUnreachable, match="token service"):
        await answer_of(client_of(sent, "failing", Failing()), target_at("http://engine.test", "failing"))
    assert not sent.requests


async def test_a_request_cancelled_while_waiting_for_its_token_is_not_sent() -> None:
    wanted = asyncio.Event()

    async def fetch() -> str:
        wanted.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    sent = Sent()
    source = TokenSource(fetch)
    answer = asyncio.create_task(answer_of(client_of(sent, "token", source), target_at("http://engine.test", "token")))
    await wanted.wait()
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert source.fetched is not None
    source.fetched.cancel()
    assert not sent.requests
