"""Records of the providers that embed and rank texts, and have no chat API here."""

from __future__ import annotations

from typing import Final

from llm.engines.capabilities import ModelRules
from llm.engines.engine import Engine, Quirks
from llm.engines.media_limits import MediaLimits
from llm.engines.task_support import RerankSupport

_NO_MEDIA: Final = MediaLimits(images=(), documents=(), audio=(), video=())

COHERE: Final = Engine(
    name="cohere",
    label="Cohere",
    dialect="openai-chat",
    chats=False,
    base_url="https://api.cohere.com",
    path="/compatibility/v1",  # of its imitation of OpenAI's API
    docs="https://docs.cohere.com/reference/rerank",
    media_limits=_NO_MEDIA,
    rerank=RerankSupport(path="/v2/rerank", below_root=True, fields=frozenset({"max_tokens_per_doc", "priority"})),
    models=ModelRules(
        kinds=(("rerank-*", "rerank"), ("embed-*", "embedding")),
        tools=(),
        fixed_models=("rerank-v4.0-pro", "rerank-v4.0-fast", "rerank-v3.5", "embed-v4.0", "embed-multilingual-v3.0"),
    ),
)

JINA: Final = Engine(
    name="jina",
    label="Jina",
    key_starts=("jina_",),
    dialect="openai-chat",
    chats=False,
    base_url="https://api.jina.ai/v1",
    docs="https://api.jina.ai/redoc",
    media_limits=_NO_MEDIA,
    rerank=RerankSupport(sends_documents=True, objects=True, fields=frozenset({"truncation", "max_doc_length"})),
    models=ModelRules(
        kinds=(("*reranker*", "rerank"), ("*embeddings*", "embedding")),
        tools=(),
        fixed_models=(
            "jina-reranker-v3",
            "jina-reranker-m0",
            "jina-reranker-v2-base-multilingual",
            "jina-embeddings-v4",
            "jina-embeddings-v3",
        ),
    ),
)

VOYAGE: Final = Engine(
    name="voyage",
    label="Voyage AI",
    dialect="openai-chat",
    chats=False,
    base_url="https://api.voyageai.com/v1",
    docs="https://docs.voyageai.com/reference/reranker-api",
    media_limits=_NO_MEDIA,
    rerank=RerankSupport(top_field="top_k", fields=frozenset({"truncation"})),
    quirks=Quirks(embedding_fields={"dimensions": "output_dimension"}),
    models=ModelRules(
        kinds=(("rerank-*", "rerank"), ("voyage-*", "embedding")),
        tools=(),
        fixed_models=("rerank-2.5", "rerank-2.5-lite", "voyage-3.5", "voyage-3.5-lite", "voyage-code-3"),
    ),
)
