"""Files, uploads and batches: passed on to the engine that their ids name, for the client that made them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from anthropic import AsyncAnthropic, NotFoundError
from openai import AsyncOpenAI

from tests.handlers.test_form_relay import read_form
from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server

OTHER: Final = "client-id-of-another"
LINES: Final = b'{"custom_id": "1", "result": 1.0}\n{"custom_id": "2"}'


class Provider:
    """Keeps files, uploads and batches, as OpenAI and Anthropic do."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.bodies: list[tuple[str, Any]] = []
        self.page = 100

    def _add(self, content: bytes, name: str, dash: str) -> dict[str, Any]:
        id = f"file{dash}{len(self.files) + 1}"
        more = {"type": "file", "size_bytes": len(content), "mime_type": "text/plain"}
        self.files[id] = {"id": id, "object": "file", "bytes": len(content), "created_at": 1, "filename": name,
                          "purpose": "batch", "status": "processed", **more}  # fmt: skip
        self.contents[id] = content
        return self.files[id]

    def _list(self, objects: dict[str, dict[str, Any]], query: str) -> dict[str, Any]:
        ids = [*objects]
        after = re.search(r"after(?:_id)?=([^&]+)", query)
        start = ids.index(after[1]) + 1 if after else 0
        page = ids[start : start + self.page]
        ends = {"first_id": page[0] if page else None, "last_id": page[-1] if page else None}
        return {
            "object": "list",
            "data": [objects[id] for id in page],
            "has_more": start + len(page) < len(ids),
            **ends,
        }

    async def __call__(self, request: Request, connection: Connection) -> None:
        path, _, query = request.path.partition("?")
        match [request.method, *path.removeprefix("/v1").strip("/").split("/")]:
            case ["POST", "files"]:
                texts, files = read_form(request)
                self.bodies.append((path, texts))
                dash = "_" if "anthropic-version" in request.headers else "-"
                await connection.respond(self._add(files["file"][0].body, files["file"][0].filename, dash))
            case ["GET", "files"]:
                await connection.respond(self._list(self.files, query))
            case ["GET", "files", id, "content"]:
                await connection.stream("application/octet-stream")
                await connection.chunk(self.contents[id])
                await connection.end()
            case ["GET", "files", id]:
                await connection.respond(self.files[id])
            case ["DELETE", "files", id]:
                del self.files[id]
                await connection.respond({"id": id, "object": "file", "type": "file_deleted", "deleted": True})
            case ["POST", "uploads"]:
                await connection.respond(self._upload("pending"))
            case ["POST", "uploads", "upload_1", "parts"]:
                texts, files = read_form(request)
                part = {"id": "part_1", "object": "upload.part", "created_at": 1, "upload_id": "upload_1"}
                await connection.respond(part)
            case ["POST", "uploads", "upload_1", end]:
                self.bodies.append((path, json.loads(request.body or b"{}")))
                whole = {"file": self._add(b"xyz", "a.txt", "-")} if end == "complete" else {}
                await connection.respond({**self._upload("completed" if end == "complete" else "cancelled"), **whole})
            case ["POST", "batches"]:
                self.bodies.append((path, request.json))
                batch = {"id": f"batch_{len(self.batches) + 1}", "object": "batch", "created_at": 1, "status": "validating",
                         "endpoint": "/v1/chat/completions", "completion_window": "24h",
                         "input_file_id": request.json["input_file_id"]}  # fmt: skip
                self.batches[batch["id"]] = batch
                await connection.respond(batch)
            case ["GET", "batches"] | ["GET", "messages", "batches"]:
                await connection.respond(self._list(self.batches, query))
            case ["GET", "batches", id]:
                output = self._add(LINES, "out.jsonl", "-")
                await connection.respond({**self.batches[id], "status": "completed", "output_file_id": output["id"]})
            case ["POST", "messages", "batches"]:
                self.bodies.append((path, request.json))
                batch = self._message_batch(f"msgbatch_{len(self.batches) + 1}")
                self.batches[batch["id"]] = batch
                await connection.respond(batch)
            case ["GET", "messages", "batches", id, "results"]:
                await connection.stream("application/x-jsonl")
                await connection.chunk(b'{"custom_id":"1","result":{"type":"canceled"}}\n')
                await connection.end()
            case ["GET", "messages", "batches", id] | ["POST", "batches" | "messages", id, "cancel"]:
                await connection.respond(self.batches[id])
            case ["POST", "messages", "batches", id, "cancel"]:
                await connection.respond(self.batches[id])
            case ["DELETE", "messages", "batches", id]:
                await connection.respond({"id": id, "type": "message_batch_deleted"})
            case _:
                self.bodies.append((path, request.json))
                await connection.respond(CHATS[path])

    def _upload(self, status: str) -> dict[str, Any]:
        return {"id": "upload_1", "object": "upload", "bytes": 3, "created_at": 1, "expires_at": 2, "filename": "a.txt",
                "purpose": "batch", "status": status}  # fmt: skip

    def _message_batch(self, id: str) -> dict[str, Any]:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        url = f"https://api.anthropic.com/v1/messages/batches/{id}/results"
        times = dict.fromkeys(("archived_at", "cancel_initiated_at", "ended_at"))
        return {"id": id, "type": "message_batch", "processing_status": "ended", "request_counts": counts, **times,
                "created_at": "2026-11-01T00:00:00Z", "expires_at": "2026-11-02T00:00:00Z", "results_url": url}  # fmt: skip


CHATS: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    },
    "/v1/responses": {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [],
    },
    "/v1/messages": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}  # fmt: skip


@asynccontextmanager
async def running(tmp: Path, provider: Provider | None = None, **more: str) -> AsyncIterator[tuple[Provider, Client]]:
    provider = provider or Provider()
    async with Upstream(provider).run() as upstream:
        environ = {
            "OPENAI_API_KEY": "sk-canary-openai-1234",
            "OPENAI_BASE_URL": f"{upstream.url}/v1",
            "MAX_RETRIES": "0",
        }
        environ |= {"ANTHROPIC_API_KEY": "sk-canary-anthropic-1", "ANTHROPIC_BASE_URL": upstream.url, **more}
        environ |= {"AUTHORIZED_CLIENT_ID": f"{CLIENT_ID},{OTHER}", "DATA_DIR": str(tmp)}
        async with run_server(make_config(**environ)) as server:
            yield provider, server


def of_openai(server: Client, id: str = CLIENT_ID, **more: Any) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=id, base_url=f"{server.url}/v1", max_retries=0, **more)


def of_anthropic(server: Client, id: str = CLIENT_ID) -> AsyncAnthropic:
    return AsyncAnthropic(api_key=id, base_url=server.url, max_retries=0)


def line(model: str, **body: Any) -> bytes:
    request = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": model, **body}}
    return json.dumps(request).encode()


async def test_a_batch_is_made_and_its_results_are_read(tmp_path: Path) -> None:
    content = b"\n".join([line("openai/gpt-4.1", x=1.0), line("openai/gpt-4.1", text='"model": "openai/x"'), b""])
    async with running(tmp_path) as (provider, server), of_openai(server) as client:
        made = await client.files.create(file=("b.jsonl", content), purpose="batch")
        assert made.id == "openai~file-1"
        bare = content.replace(b'"model": "openai/gpt-4.1"', b'"model": "gpt-4.1"')
        assert provider.contents["file-1"] == bare
        batch = await client.batches.create(
            input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (batch.id, batch.input_file_id) == ("openai~batch_1", made.id)
        assert provider.bodies[-1][1]["input_file_id"] == "file-1"
        done = await client.batches.retrieve(batch.id)
        assert done.output_file_id == "openai~file-2"
        assert (await client.files.content(done.output_file_id)).content == LINES
        assert [one.id async for one in client.batches.list()] == [batch.id]
        assert (await client.files.retrieve(made.id)).id == made.id
        assert (await client.files.delete(made.id)).id == made.id
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(made.id)


async def test_another_s_objects_are_404_and_in_no_list(tmp_path: Path) -> None:
    provider = Provider()
    provider.page = 2
    async with (
        running(tmp_path, provider) as (_, server),
        of_openai(server) as client,
        of_openai(server, OTHER) as other,
    ):
        files = [await client.files.create(file=("a.txt", b"x"), purpose="assistants") for _ in range(3)]
        theirs = await other.files.create(file=("b.txt", b"y"), purpose="assistants")
        assert [one.id async for one in client.files.list()] == [one.id for one in files]
        assert [one.id async for one in other.files.list()] == [theirs.id]
        sent = len(provider.bodies)
        for use in (
            other.files.retrieve(files[0].id), other.files.delete(files[0].id), other.files.content(files[0].id),
            other.files.list(after=files[0].id), other.files.retrieve("file-1"), other.files.retrieve("nowhere~file-1"),
            other.batches.create(
                input_file_id=files[0].id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        ):  # fmt: skip
            with pytest.raises(openai.NotFoundError) as refused:
                await use
            assert refused.value.type == "invalid_request_error"
        assert len(provider.bodies) == sent


async def test_an_upload_in_parts_becomes_a_file(tmp_path: Path) -> None:
    async with running(tmp_path) as (provider, server), of_openai(server) as client:
        made = await client.uploads.create(purpose="batch", filename="a.txt", bytes=3, mime_type="text/plain")
        part = await client.uploads.parts.create(made.id, data=b"xyz")
        assert (made.id, part.id, part.upload_id) == ("openai~upload_1", "openai~part_1", made.id)
        whole = await client.uploads.complete(made.id, part_ids=[part.id])
        assert provider.bodies[-1] == ("/v1/uploads/upload_1/complete", {"part_ids": ["part_1"]})
        assert whole.file is not None and (await client.files.retrieve(whole.file.id)).id == whole.file.id
        assert (await client.uploads.cancel(made.id)).status == "cancelled"


async def test_anthropic_s_batches_and_files(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as (provider, server),
        of_anthropic(server) as client,
        of_anthropic(server, OTHER) as other,
    ):
        file = await client.beta.files.upload(file=("a.txt", b"text", "text/plain"))
        assert file.id == "anthropic~file_1"
        source: Any = {"type": "document", "source": {"type": "file", "file_id": file.id}}
        params: Any = {
            "model": "anthropic/claude-x",
            "max_tokens": 5,
            "messages": [{"role": "user", "content": [source]}],
        }
        batch = await client.messages.batches.create(requests=[{"custom_id": "1", "params": params}])
        [sent] = provider.bodies[-1][1]["requests"]
        assert sent["params"]["model"] == "claude-x"
        assert sent["params"]["messages"][0]["content"][0]["source"]["file_id"] == "file_1"
        assert batch.id == "anthropic~msgbatch_1"
        results = [one.custom_id async for one in await client.messages.batches.results(batch.id)]
        assert results == ["1"]
        assert [one.id async for one in client.messages.batches.list()] == [batch.id]
        assert [one.id async for one in client.beta.files.list()] == [file.id]
        assert (await client.messages.batches.cancel(batch.id)).id == batch.id
        assert [one.id async for one in other.messages.batches.list()] == []
        for use in (other.messages.batches.retrieve(batch.id), other.beta.files.retrieve_metadata(file.id)):
            with pytest.raises(NotFoundError):
                await use
        assert (await client.messages.batches.delete(batch.id)).id == batch.id


async def test_the_engine_is_named_known_by_the_first_line_or_the_only_one(tmp_path: Path) -> None:
    more = {"GROQ_API_KEY": "sk-canary-groq-1234"}
    async with Upstream(Provider()).run() as groq:
        more["GROQ_BASE_URL"] = f"{groq.url}/v1"
        async with running(tmp_path, None, **more) as (_, server), of_openai(server) as client:
            made = await client.files.create(file=("b.jsonl", line("groq/llama")), purpose="batch")
            assert made.id == "groq~file-1"
            named = await client.files.create(
                file=("b.jsonl", line("llama")), purpose="batch", extra_headers={"X-Engine": "groq"}
            )
            assert named.id == "groq~file-2"
            with pytest.raises(openai.BadRequestError, match="several engines have files: openai, groq"):
                await client.files.create(file=("a.txt", b"x"), purpose="assistants")
            with pytest.raises(openai.BadRequestError, match="Anthropic has no files in this API"):
                await client.files.list(extra_headers={"X-Engine": "anthropic"})
            with pytest.raises(openai.BadRequestError, match=r"line 2: body\.model"):
                two = b"\n".join([line("groq/llama"), line("openai/gpt")])
                await client.files.create(file=("b.jsonl", two), purpose="batch")
            assert [one.id async for one in client.files.list(extra_headers={"X-Engine": "groq"})] == [
                made.id,
                named.id,
            ]


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/v1/chat/completions",
         {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "openai~file-1"}}]}]}, "openai"),
        ("/v1/responses",
         {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "openai~file-1"}]}]}, "openai"),
        ("/v1/messages",
         {"max_tokens": 5, "messages": [{"role": "user", "content": [
             {"type": "document", "source": {"type": "file", "file_id": "anthropic~file_1"}}]}]}, "anthropic"),
    ],
    ids=["chat", "responses", "messages"],
)  # fmt: skip
async def test_ids_are_taken_in_chats(path: str, body: dict[str, Any], place: str, tmp_path: Path) -> None:
    async with running(tmp_path) as (provider, server):
        if place == "openai":
            async with of_openai(server) as client:
                await client.files.create(file=("a.txt", b"x"), purpose="user_data")
        else:
            async with of_anthropic(server) as client:
                await client.beta.files.upload(file=("a.txt", b"x", "text/plain"))
        answer = await server.post(path, {"model": f"{place}/m", **body})
        assert answer.status == 200, await answer.body()
        sent = json.dumps(provider.bodies[-1][1])
        assert f"{place}~" not in sent and re.search(r'"file_id": "file[-_]1"', sent)
        refused = await server.post(path, {"model": f"{place}/m", **body}, {"X-ClientId": OTHER})
        assert refused.status == 404 and b"no object with the id" in await refused.body()
        elsewhere = "anthropic" if place == "openai" else "openai"
        refused = await server.post(path, {"model": f"{elsewhere}/m", **body})
        assert refused.status == 400 and b"is kept by" in await refused.body()


async def test_owners_survive_a_restart_and_are_forgotten_in_time(tmp_path: Path) -> None:
    provider = Provider()
    async with running(tmp_path, provider) as (_, server), of_openai(server) as client:
        made = await client.files.create(file=("a.txt", b"x"), purpose="assistants")
    async with running(tmp_path, provider, FILES_MAX_COUNT="1") as (_, server), of_openai(server) as client:
        assert (await client.files.retrieve(made.id)).id == made.id
        await client.files.create(file=("b.txt", b"y"), purpose="assistants")
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(made.id)


async def test_a_large_batch_file_is_rewritten_and_memory_does_not_hold_it(tmp_path: Path) -> None:
    row = line("openai/gpt-4.1", text="x" * 1000) + b"\n"
    content = row * 20_000  # 22 MB
    async with running(tmp_path, MAX_BODY_SIZE="1MB") as (provider, server), of_openai(server) as client:
        await client.files.create(file=("b.jsonl", content), purpose="batch")
        assert provider.contents["file-1"] == row.replace(b"openai/gpt-4.1", b"gpt-4.1") * 20_000
        assert server.server.context.upload_budget.reserved == 0


async def test_a_download_waits_for_a_slow_client(tmp_path: Path) -> None:
    provider = Provider()
    async with running(tmp_path, provider) as (_, server), of_openai(server) as client:
        made = await client.files.create(file=("a.bin", b"z" * 8_000_000), purpose="assistants")
        answer = await server.get(f"/v1/files/{made.id}/content", {"X-ClientId": CLIENT_ID})
        await asyncio.sleep(0)
        assert await answer.body() == b"z" * 8_000_000


async def test_a_large_batch_of_messages_is_read_in_a_thread(tmp_path: Path) -> None:
    one = {"max_tokens": 5, "messages": [{"role": "user", "content": "x" * 1000}], "model": "anthropic/claude-x"}
    requests = [{"custom_id": str(n), "params": one} for n in range(3000)]  # 3 MB
    async with running(tmp_path) as (provider, server), of_anthropic(server) as client:
        batch = await client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
        assert batch.id == "anthropic~msgbatch_1"
    sent = provider.bodies[-1][1]["requests"]
    assert sent == [{**row, "params": {**one, "model": "claude-x"}} for row in requests]


async def test_requests_of_a_batch_name_one_engine(tmp_path: Path) -> None:
    params = {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    two = [{"custom_id": "1", "params": {**params, "model": f"{name}/m"}} for name in ("anthropic", "openai")]
    async with running(tmp_path) as (provider, server):
        refused = await server.post("/v1/messages/batches", {"requests": two})
        assert refused.status == 400
        assert (await refused.json())["error"]["message"].startswith("requests[1].params.model: ")
        refused = await server.post("/v1/messages/batches", {"requests": two[1:]})
        assert refused.status == 400 and "OpenAI has no batches in this API" in (await refused.body()).decode()
    assert not provider.bodies


async def test_azure_s_classic_form_names_no_deployment(tmp_path: Path) -> None:
    async def answer(request: Request, connection: Connection) -> None:
        await connection.respond({"object": "list", "data": []})

    async with Upstream(answer).run() as upstream:
        environ = {"AZURE_API_KEY": "k" * 20, "AZURE_BASE_URL": upstream.url, "AZURE_API_VERSION": "2025-04-01-preview"}
        async with run_server(make_config(**environ, DATA_DIR=str(tmp_path))) as server:
            for path in ("/v1/files", "/v1/batches"):
                assert (await server.get(path, {"X-ClientId": CLIENT_ID})).status == 200
    assert [sent.path for sent in upstream.requests] == [
        "/openai/files?api-version=2025-04-01-preview", "/openai/batches?api-version=2025-04-01-preview",
    ]  # fmt: skip


async def test_a_repeated_batch_and_a_repeated_upload_are_made_once(tmp_path: Path) -> None:
    async with running(tmp_path) as (provider, server), of_openai(server) as client:
        content = line("openai/gpt-4.1")
        key = {"Idempotency-Key": "k-1"}
        files = [
            await client.files.create(file=("b.jsonl", content), purpose="batch", extra_headers=key) for _ in range(2)
        ]
        assert files[0].id == files[1].id
        batches = [
            await client.batches.create(
                input_file_id=files[0].id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                extra_headers=key,
            )
            for _ in range(2)
        ]
        assert batches[0].id == batches[1].id and len(provider.batches) == 1
