"""HTTP in: the one table of routes, each with its handler; the handler says who may call (``Base.access``)."""

from __future__ import annotations

from typing import Any

from tornado.web import Application

from handlers.base import Base, Nothing
from handlers.chat import CancelHandler, ChatHandler
from handlers.context import Context
from handlers.counting import CountHandler
from handlers.embeddings import EmbeddingsHandler
from handlers.images import ImageHandler
from handlers.lists import CompatibleModelHandler, CompatibleModelsHandler
from handlers.media import ImagesHandler, OpenAISpeechHandler, OpenAITranscriptionHandler
from handlers.native import EnginesHandler, ModelsHandler, NativeChatHandler, TitleHandler, VerifyHandler
from handlers.ollama import (
    EmbedHandler,
    OlderEmbedHandler,
    OllamaChatHandler,
    RunningModelsHandler,
    ShowHandler,
    TagsHandler,
    VersionHandler,
)
from handlers.ops import HealthHandler
from handlers.page import PageHandler
from handlers.threads import ThreadHandler, ThreadsHandler
from handlers.voice import SpeechHandler, TranscriptionHandler
from llm.dialects import anthropic, native, ollama, openai_chat, openai_responses

Route = tuple[str, type[Base], dict[str, Any]]

# Tornado tries one after the other: those first whose time counts most.
ROUTES: tuple[Route, ...] = (
    (r"/llm/chat", NativeChatHandler, {"dialect": native, "schema": "llm.chat"}),
    (r"/v1/chat/completions", ChatHandler, {"dialect": openai_chat, "schema": "openai.chat"}),
    (r"/v1/responses", ChatHandler, {"dialect": openai_responses, "schema": "openai.responses"}),
    (r"/v1/messages", ChatHandler, {"dialect": anthropic, "schema": "anthropic.messages"}),
    (r"/api/chat", OllamaChatHandler, {"dialect": ollama, "schema": "ollama.chat"}),
    (r"/api/generate", OllamaChatHandler, {"dialect": ollama.generate, "schema": "ollama.chat"}),
    (r"/", PageHandler, {"file": "index.html"}),
    (r"/chat\.css", PageHandler, {"file": "chat.css"}),
    (r"/chat\.js", PageHandler, {"file": "chat.js"}),
    (r"/health", HealthHandler, {}),
    (r"/auth/verify", VerifyHandler, {}),
    (r"/llm/engines", EnginesHandler, {}),
    (r"/llm/models/([^/]+)", ModelsHandler, {}),
    (r"/llm/chat/([^/]+)", CancelHandler, {}),
    (r"/llm/title", TitleHandler, {"dialect": native, "schema": "llm.title"}),
    (r"/thread", ThreadsHandler, {}),
    (r"/thread/([^/]+)", ThreadHandler, {}),
    (r"/voice/tts", SpeechHandler, {}),
    (r"/voice/stt", TranscriptionHandler, {}),
    (r"/images/([^/]+)", ImageHandler, {}),
    (r"/v1/messages/count_tokens", CountHandler, {"dialect": anthropic, "schema": "anthropic.count"}),
    (r"/v1/embeddings", EmbeddingsHandler, {}),
    (r"/v1/images/generations", ImagesHandler, {}),
    (r"/v1/audio/speech", OpenAISpeechHandler, {}),
    (r"/v1/audio/transcriptions", OpenAITranscriptionHandler, {}),
    (r"/v1/models", CompatibleModelsHandler, {}),
    (r"/v1/models/(.+)", CompatibleModelHandler, {}),
    (r"/api/embed", EmbedHandler, {}),
    (r"/api/embeddings", OlderEmbedHandler, {}),
    (r"/api/tags", TagsHandler, {}),
    (r"/api/show", ShowHandler, {}),
    (r"/api/ps", RunningModelsHandler, {}),
    (r"/api/version", VersionHandler, {}),
)


def make_app(context: Context) -> Application:
    routes: list[Any] = [(pattern, handler, {"context": context, **more}) for pattern, handler, more in ROUTES]
    return Application(
        routes,
        default_handler_class=Nothing,
        default_handler_args={"context": context},
        log_function=lambda handler: None,  # handlers write their own line
    )
