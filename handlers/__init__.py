"""HTTP endpoints: the table of routes. Each handler declares who may call it (``BaseHandler.access``)."""

from __future__ import annotations

from handlers.chat import CancelHandler, ChatHandler
from handlers.context import Context
from handlers.native.chat import NativeChatHandler
from handlers.native.engines import EnginesHandler, ModelsHandler, VerifyHandler
from handlers.native.images import ImageHandler
from handlers.native.threads import ThreadHandler, ThreadsHandler
from handlers.native.title import TitleHandler
from handlers.native.voice import SpeechHandler, TranscriptionHandler
from handlers.ollama.api import (
    EmbedHandler,
    LegacyEmbedHandler,
    OllamaChatHandler,
    RunningModelsHandler,
    ShowHandler,
    TagsHandler,
    VersionHandler,
)
from handlers.ollama.model_files import DeleteModelHandler, ModelFilesHandler
from handlers.openai.chat import CompletionsHandler
from handlers.openai.embeddings import EmbeddingsHandler
from handlers.openai.files import FILE_ROUTES
from handlers.openai.kept_responses import CancelResponseHandler, InputItemsHandler, ResponseHandler
from handlers.openai.media import FormRelayHandler, ImagesHandler, OpenAISpeechHandler, OpenAITranscriptionHandler
from handlers.openai.models import CompatibleModelHandler, CompatibleModelsHandler
from handlers.openai.moderations import ModerationsHandler
from handlers.openai.rerank import RerankHandler
from handlers.openai.response_input import CompactHandler, InputTokensHandler
from handlers.openai.websocket import ResponsesSocketHandler
from handlers.ops.api_description import LlmsTextHandler, OpenApiHandler
from handlers.ops.health import HealthHandler, HelloHandler
from handlers.ops.not_found import NotFoundHandler
from handlers.ops.page import PageHandler
from handlers.router import Route, Router
from handlers.vendors.anthropic import CountTokensHandler
from handlers.vendors.gemini.generate import GENERATE, STREAM, GenerateHandler
from handlers.vendors.gemini.models import GeminiModelHandler, GeminiModelsHandler
from handlers.vendors.gemini.paths import make_pattern
from handlers.vendors.gemini.tasks import COUNT, EMBED, EMBED_BATCH, GeminiCountHandler, GeminiEmbedHandler
from llm.dialects import anthropic, native, ollama, openai_chat, openai_responses
from llm.dialects.openai_chat import completions

# Path (or pattern with groups), handler class and its arguments.
ROUTES: tuple[Route, ...] = (
    ("/llm/chat", NativeChatHandler, {"dialect": native, "schema": "llm.chat"}),
    ("/v1/chat/completions", CompletionsHandler, {"dialect": openai_chat, "schema": "openai.chat"}),
    ("/v1/completions", ChatHandler, {"dialect": completions, "schema": "openai.completions"}),
    ("/v1/fim/completions", ChatHandler, {"dialect": completions.client_fim, "schema": "openai.completions"}),
    ("/v1/responses", ResponsesSocketHandler, {"dialect": openai_responses, "schema": "openai.responses"}),
    ("/v1/messages", ChatHandler, {"dialect": anthropic, "schema": "anthropic.messages"}),
    ("/api/chat", OllamaChatHandler, {"dialect": ollama, "schema": "ollama.chat"}),
    ("/api/generate", OllamaChatHandler, {"dialect": ollama.client_generate, "schema": "ollama.chat"}),
    (make_pattern(GENERATE, STREAM), GenerateHandler, {}),
    (make_pattern(COUNT), GeminiCountHandler, {}),
    (make_pattern(EMBED, EMBED_BATCH), GeminiEmbedHandler, {}),
    ("/v1beta/models", GeminiModelsHandler, {}),
    (r"/v1beta/((?:models|tunedModels)/.+)", GeminiModelHandler, {}),
    ("/", PageHandler, {"file": "index.html"}),
    ("/chat.css", PageHandler, {"file": "chat.css"}),
    ("/chat.js", PageHandler, {"file": "chat.js"}),
    ("/health", HealthHandler, {}),
    ("/openapi.json", OpenApiHandler, {}),
    ("/llms.txt", LlmsTextHandler, {}),
    ("/api/hello", HelloHandler, {}),
    ("/auth/verify", VerifyHandler, {}),
    ("/llm/engines", EnginesHandler, {}),
    (r"/llm/models/([^/]+)", ModelsHandler, {}),
    (r"/llm/chat/([^/]+)", CancelHandler, {}),
    ("/llm/title", TitleHandler, {"dialect": native, "schema": "llm.title"}),
    ("/thread", ThreadsHandler, {}),
    (r"/thread/([^/]+)", ThreadHandler, {}),
    ("/voice/tts", SpeechHandler, {}),
    ("/voice/stt", TranscriptionHandler, {}),
    (r"/images/([^/]+)", ImageHandler, {}),
    ("/v1/messages/count_tokens", CountTokensHandler, {"dialect": anthropic, "schema": "anthropic.count"}),
    ("/v1/embeddings", EmbeddingsHandler, {}),
    ("/v1/rerank", RerankHandler, {"version": 1}),
    ("/v2/rerank", RerankHandler, {"version": 2}),
    ("/v1/images/generations", ImagesHandler, {}),
    ("/v1/audio/speech", OpenAISpeechHandler, {}),
    ("/v1/audio/transcriptions", OpenAITranscriptionHandler, {}),
    ("/v1/images/edits", FormRelayHandler, {"task": "images", "path": "/images/edits"}),
    ("/v1/images/variations", FormRelayHandler, {"task": "images", "path": "/images/variations"}),
    ("/v1/audio/translations", FormRelayHandler, {"task": "translation", "path": "/audio/translations"}),
    ("/v1/moderations", ModerationsHandler, {}),
    *FILE_ROUTES,
    ("/v1/models", CompatibleModelsHandler, {}),
    ("/v1/responses/compact", CompactHandler, {"dialect": openai_responses, "schema": "openai.responses"}),
    ("/v1/responses/input_tokens", InputTokensHandler, {"dialect": openai_responses, "schema": "openai.responses"}),
    (r"/v1/responses/([^/]+)", ResponseHandler, {}),
    (r"/v1/responses/([^/]+)/input_items", InputItemsHandler, {}),
    (r"/v1/responses/([^/]+)/cancel", CancelResponseHandler, {}),
    (r"/v1/models/(.+)", CompatibleModelHandler, {}),
    ("/api/embed", EmbedHandler, {}),
    ("/api/embeddings", LegacyEmbedHandler, {}),
    ("/api/tags", TagsHandler, {}),
    ("/api/show", ShowHandler, {}),
    ("/api/ps", RunningModelsHandler, {}),
    *((path, ModelFilesHandler, {"path": path}) for path in ("/api/pull", "/api/push", "/api/create", "/api/copy")),
    ("/api/delete", DeleteModelHandler, {"path": "/api/delete"}),
    ("/api/version", VersionHandler, {}),
)


def make_app(context: Context) -> Router:
    """Returns the application with all routes."""
    routes: list[Route] = [(path, handler, {"context": context, **more}) for path, handler, more in ROUTES]
    config = context.config
    not_found = NotFoundHandler, {"context": context}
    return Router(routes, not_found, path_ids=config.path_ids, protected=config.open_to_all)
