"""One round of embedding: as many requests as an engine needs for all the texts."""

from __future__ import annotations

from functools import partial

from llm.engines import Target
from llm.exchange import Services, Trace, ask
from llm.tasks import embedding


async def embed(
    request: embedding.EmbeddingRequest, target: Target, services: Services, trace: Trace
) -> embedding.Embeddings:
    """Raises ``LLMError``; a failure that may pass is tried again."""
    made: list[embedding.Embeddings] = []
    for outgoing, count in embedding.write_request(request, target.engine, target.model):
        read = partial(embedding.read_reply, engine=target.engine, count=count)
        made.append(await ask(outgoing, read, target, services, trace))
        trace.dropped = outgoing.dropped
    return embedding.joined(made)
