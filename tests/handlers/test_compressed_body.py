"""Compressed request bodies: read within the limits of what they contain."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any, Final

import anthropic
import httpx
import pytest

from handlers.request.body import RequestBody
from handlers.request.limits import BodyBudget
from llm.errors import Cancelled, InvalidRequest, RateLimited, TooLarge, UnsupportedEncoding
from llm.http1 import compression
from llm.http1.compression import MAX_STEP, load_zstd
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Client, make_config, run_server
from tests.support.wires import CLIENTS


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}
if load_zstd() is not None:
    PACKERS["zstd"] = ("zstd", load_zstd().compress)
DEMO: Final = {"engine": "demo", "model": "demo-chat", "prompt": "Hi", "stream": False}


def body_with(pieces: list[bytes], limit: int = 1 << 25, budget: BodyBudget | None = None) -> RequestBody:
    body = RequestBody(limit, 4 * limit, budget)
    for piece in pieces:
        assert body.receive(piece)
    return body


@pytest.mark.parametrize("packer", PACKERS)
async def test_gw_05_every_client_may_compress_its_body(packer: str) -> None:
    encoding, pack = PACKERS[packer]
    async with run_server(make_config()) as server:
        for client in CLIENTS.values():
            body = json.dumps(client.request("demo", "demo-chat")).encode()
            answer = await server.post(
                client.path, pack(body), {**CLIENT, **client.headers, "Content-Encoding": encoding}
            )
            assert answer.status == 200, await answer.body()
            assert await answer.body()


async def test_gw_05_the_reported_request() -> None:
    case = field_case("gw-05")
    body = {**case["request"], "model": "demo/demo-chat"}
    async with run_server(make_config()) as server:
        headers = {**CLIENT, "Content-Encoding": "gzip"}
        answer = await server.post(case["endpoint"], gzip.compress(json.dumps(body).encode()), headers)
        assert answer.status == 200
        assert (await answer.json())["status"] == "completed"


async def test_nw_57_the_official_client_may_compress() -> None:
    case = field_case("nw-57")

    async def pack(request: httpx.Request) -> None:
        packed = gzip.compress(request.read())
        request.headers["Content-Encoding"] = case["request_headers"]["content-encoding"]
        request.headers["Content-Length"] = str(len(packed))
        request.stream = httpx.ByteStream(packed)

    async with run_server(make_config()) as server:
        async with httpx.AsyncClient(event_hooks={"request": [pack]}) as client:
            body = {**case["request"], "model": "demo/demo-chat"}
            answer = await client.post(f"{server.url}{case['endpoint']}", json=body, headers={"x-api-key": CLIENT_ID})
    assert (answer.status_code, answer.json()["type"]) == (200, "message")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "aws-chunked", "x" * 500])
async def test_nw_57_another_encoding_is_415_by_its_name(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "load_zstd", lambda: None)
    async with run_server(make_config()) as server:
        for client in CLIENTS.values():
            body = client.request("demo", "demo-chat")
            answer = await server.post(client.path, body, {**CLIENT, **client.headers, "Content-Encoding": encoding})
            assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "gzip, deflate")
            assert encoding[:40] in (await answer.body()).decode()


@pytest.mark.parametrize(
    ("encoding", "data", "status", "code"),
    [
        ("br", b"x", 415, "request_body_encoding_unsupported"),
        ("gzip", b"x", 400, "request_body_encoding_invalid"),
        ("gzip", gzip.compress(b"{}")[:-4], 400, "request_body_encoding_invalid"),
        ("deflate", b"{}", 400, "request_body_encoding_invalid"),
        ("gzip", gzip.compress(bytes(3000)), 413, "request_body_too_large_after_decoding"),
    ],
    ids=["unknown coding", "no gzip", "cut gzip", "no deflate", "too large"],  # the bytes of gzip hold the time
)
async def test_nw_57_anthropic_s_clients_get_its_codes(encoding: str, data: bytes, status: int, code: str) -> None:
    async with run_server(make_config(MAX_BODY_SIZE="2000")) as server:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key=CLIENT_ID, max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError) as caught:
                headers = {"Content-Encoding": encoding}
                await client.post("/v1/messages", cast_to=object, content=data, options={"headers": headers})
    body: Any = caught.value.body
    assert (caught.value.status_code, body["error"]["details"]["error_code"]) == (status, code)


async def test_forms_may_be_compressed() -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ndemo/demo-chat\r\n--b--\r\n'
    headers = {**CLIENT, "Content-Type": "multipart/form-data; boundary=b"}

    async def ask(server: Client, data: bytes, more: dict[str, str]) -> Any:
        answer = await server.post("/v1/audio/transcriptions", data, {**headers, **more})
        return answer.status, await answer.json()

    async with run_server(make_config()) as server:
        plain = await ask(server, form, {})
        assert await ask(server, gzip.compress(form), {"Content-Encoding": "gzip"}) == plain
        assert "JSON" not in str(plain)


async def test_the_key_of_a_caller_without_an_id_may_be_in_a_compressed_body() -> None:
    async with run_server(make_config()) as server:
        for body, status in (({"openaiKey": "sk-1"}, 200), ({}, 401)):
            packed = gzip.compress(json.dumps(body).encode())
            answer = await server.post("/llm/engines", packed, {"Content-Encoding": "gzip"})
            assert answer.status == status


async def test_the_limit_holds_for_what_a_body_contains_and_for_what_is_sent() -> None:
    async with run_server(make_config(MAX_BODY_SIZE="2000")) as server:
        headers = {**CLIENT, "Content-Encoding": "gzip"}
        body = json.dumps(DEMO).encode()
        for size, status in ((2000 - len(body), 200), (2001 - len(body), 413)):
            answer = await server.post("/llm/chat", gzip.compress(body + b" " * size), headers)
            assert answer.status == status
        assert (await answer.json())["code"] == "too_large"
        assert (await server.post("/llm/chat", b"x" * 2001, headers)).status == 413
        assert (await server.post("/auth/verify", gzip.compress(b" " * 70_000), headers)).status == 413


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "identity"])
async def test_a_bomb_is_refused_at_the_limit_and_in_small_steps(packer: str) -> None:
    encoding, pack = PACKERS[packer]
    bomb = pack(bytes(40_000_000))
    assert len(bomb) < 100_000
    body, turns = body_with([bomb], limit=10 * MAX_STEP), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    with pytest.raises(TooLarge):
        await body.decompress(encoding)
    other.cancel()
    assert 10 <= turns <= 15  # a turn of the event loop for each step
    assert body.take() == b""


async def test_what_a_body_contains_counts_for_callers_without_an_id() -> None:
    budget = BodyBudget(1_000_000)
    body = body_with([gzip.compress(bytes(900_000))], budget=budget)
    sent = budget.reserved
    await body.decompress("gzip")
    assert budget.reserved == sent + 900_000
    assert body.take() == bytes(900_000)
    body.release()
    assert not budget.reserved
    body = body_with([gzip.compress(bytes(1_100_000))], budget=budget)
    with pytest.raises(RateLimited):
        await body.decompress("gzip")
    body.release()
    assert not budget.reserved


async def test_decompression_ends_when_the_client_leaves() -> None:
    budget = BodyBudget(1 << 30)
    body = body_with([gzip.compress(bytes(20_000_000))], budget=budget)
    task = asyncio.create_task(body.decompress("gzip"))
    await asyncio.sleep(0)
    body.release()
    body.refusal = Cancelled("The client is gone.")
    with pytest.raises(Cancelled):
        await task
    body.release()
    assert not budget.reserved


@pytest.mark.parametrize("pieces", [[], [b""], [b"  "]])
async def test_an_empty_body_is_not_compressed(pieces: list[bytes]) -> None:
    body = body_with(pieces)
    if pieces == [b"  "]:
        with pytest.raises(InvalidRequest):
            await body.decompress("gzip")
    else:
        await body.decompress("br")
        assert body.take() == b""


async def test_zstd_is_named_where_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "load_zstd", lambda: object())
    with pytest.raises(UnsupportedEncoding, match="send gzip, deflate, zstd or no compression"):
        await body_with([b"x"]).decompress("br")
