"""Creates the tools that are installed and configured."""

from __future__ import annotations

from llm.config.settings import Config
from llm.engines.engine import Target
from llm.storage.images import ImageStore
from llm.tools.base import Tool
from llm.tools.fetcher import Fetcher
from llm.tools.web_page import GetHtmlAsText
from llm.tools.youtube_transcript import GetYoutubeTranscript
from llm.transport.egress import Egress
from llm.upstream.engine_client import EngineClient


def make_fetcher(config: Config) -> Fetcher:
    """Creates the fetcher of the tools. The caller closes it."""
    return Fetcher(Egress(frozenset(config.fetch_allow)))


def make_tools(config: Config, client: EngineClient, fetcher: Fetcher, images: ImageStore) -> dict[str, Tool]:
    """Creates the tools, by name. Their optional packages are imported, and the network is used, only when they run."""
    tools: list[Tool] = []
    if GetHtmlAsText.is_available():
        tools.append(GetHtmlAsText(fetcher))
    if GetYoutubeTranscript.is_available():
        tools.append(GetYoutubeTranscript(fetcher))
    if config.tavily_key:
        from llm.tools.web_search import SearchTavily  # only where it is configured, like the next: memory

        transport = client.transports[config.tavily_url.partition(":")[0]]
        tools.append(SearchTavily(transport, config.tavily_url, config.tavily_key))
    key = config.keys.get(config.image_engine)
    if key and config.image_model:
        from llm.tools.image_generation import ImageGeneration

        target = Target(engine=config.engines[config.image_engine], model=config.image_model, key=key)
        tools.append(ImageGeneration(target, client, fetcher, images, config.public_url))
    return {tool.spec.name: tool for tool in tools}
