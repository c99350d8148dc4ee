"""Creates the tools for a server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from llm.storage.images import ImageStore
from llm.tools.base import Tool
from llm.tools.fetcher import Fetcher
from llm.tools.registry import make_tools
from llm.tools.youtube_transcript import GetYoutubeTranscript
from llm.transport.egress import Egress
from llm.transport.http_client import HttpTransport
from llm.upstream.engine_client import EngineClient
from llm.upstream.retry import RetryPolicy
from tests.support.harness import make_config

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
ENVIRON = {
    "TAVILY_API_KEY": "tvly-of-the-server",
    "IMAGE_ENGINE": "openai",
    "IMAGE_MODEL": "gpt-image-1",
    "OPENAI_API_KEY": "sk-image",
}


@asynccontextmanager
async def run_tools(port: int, images: Path | None = None, **environ: str) -> AsyncIterator[dict[str, Tool]]:
    """Yields all tools, with every URL on 127.0.0.1 and this port."""
    url = f"http://127.0.0.1:{port}"
    urls = {"TAVILY_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1", "HUGGINGFACE_BASE_URL": f"{url}/v1"}
    configured = make_config(FETCH_ALLOW=f"127.0.0.1:{port}", **{**ENVIRON, **urls, **environ})
    transport = HttpTransport(connect_timeout=5, first_byte_timeout=5, idle_timeout=5)
    fetcher = Fetcher(Egress(frozenset(configured.fetch_allow)))
    store = ImageStore(images or Path("/nowhere/at/all"), 3600, 1 << 20)
    made = make_tools(configured, EngineClient({"http": transport, "https": transport}, RetryPolicy(0)), fetcher, store)
    made["get_youtube_transcript"] = GetYoutubeTranscript(fetcher, url)
    try:
        yield made
    finally:
        await fetcher.close()
        await transport.close()
