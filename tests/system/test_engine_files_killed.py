"""The owners of an engine's files survive a server that is killed."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.handlers.test_engine_files import Provider
from tests.support.harness import Upstream
from tests.support.processes import find_url, start_server

ME, OTHER = "client-id-of-the-tests", "client-id-of-another"
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n--b--\r\n'
)


def _ask(url: str, client: str, body: bytes | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {client}"} | (
        {"Content-Type": "multipart/form-data; boundary=b"} if body else {}
    )
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def _use(upstream: str, folder: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-canary-openai-1234", "OPENAI_BASE_URL": f"{upstream}/v1", "DATA_DIR": str(folder)}
    environ["AUTHORIZED_CLIENT_ID"] = f"{ME},{OTHER}"
    with start_server("--port", "0", cwd=folder, **environ) as (process, lines):
        status, made = _ask(f"{find_url(lines)}/v1/files", ME, FORM)
        assert (status, made["id"]) == (200, "openai~file-1")
        process.kill()
        process.wait(20)
    with start_server("--port", "0", cwd=folder, **environ) as (_, lines):
        url = f"{find_url(lines)}/v1/files/openai~file-1"
        assert _ask(url, ME)[1]["id"] == "openai~file-1"
        assert _ask(url, OTHER)[0] == 404
        assert [path.name for path in folder.iterdir() if path.name.startswith("upload-")] == []


async def test_owners_survive_a_kill(tmp_path: Path) -> None:
    async with Upstream(Provider()).run() as upstream:
        await asyncio.to_thread(_use, upstream.url, tmp_path)
