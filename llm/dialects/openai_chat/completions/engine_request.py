"""Writes a ChatRequest with one text as the body of ``POST /completions`` or ``/fim/completions``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from llm.chat.messages import Text
from llm.chat.request import ChatRequest
from llm.dialects.base import EngineRequest
from llm.dialects.losses import lost_fields
from llm.dialects.openai_chat.engine_request import request_usage
from llm.engines.api_choice import COMPLETIONS, FIM
from llm.engines.engine import Engine
from llm.engines.options import check_options
from llm.engines.profiles import DEFAULT_PROFILE
from llm.errors import Unsupported
from llm.wire.json_codec import Json

TOOL_NAMES: Final = re.compile(r".+", re.DOTALL)  # names of tools that the wire accepts: it has none
_OPTIONS: Final = ("max_tokens", "temperature", "top_p", "stop", "seed")
_PENALTIES: Final = ("presence_penalty", "frequency_penalty")
_DEFAULT_PATH: Final = "/completions"


def choose_path(engine: Engine) -> str:
    """Returns the path of the engine's API."""
    return engine.completions.path if engine.completions is not None else _DEFAULT_PATH


def write_request(request: ChatRequest, engine: Engine) -> EngineRequest:
    """Writes a request to complete a text. Raises ``Unsupported`` naming the option or the part."""
    dropped = lost_fields(request, COMPLETIONS)
    is_fim = engine.completions is not None and engine.completions.form == FIM
    names = _OPTIONS if is_fim else (*_OPTIONS, *_PENALTIES)
    options = check_options(request.options, engine, request.model, DEFAULT_PROFILE, False, frozenset(names))
    body: dict[str, Json] = {"model": request.model, "prompt": read_only_text(request, engine)}
    if request.suffix:
        body["suffix"] = request.suffix
    for name in names:
        value = getattr(options, name)
        if value not in (None, ()):
            body[engine.quirks.seed_field if name == "seed" else name] = [*value] if name == "stop" else value
    body["stream"] = request.stream
    if request.stream:
        body |= request_usage(_NO_FIELDS, engine)
    return EngineRequest(path=choose_path(engine), body=body, dropped=dropped)


_NO_FIELDS: Final[Mapping[str, Json]] = {}


def read_only_text(request: ChatRequest, engine: Engine) -> str:
    """Returns the text of the only message. Raises ``Unsupported`` for all else, for which the wire has no field."""
    for message in request.messages:
        for part in message.parts:
            name = message.role if message.role != "user" else "" if isinstance(part, Text) else "images"
            if name:
                text = f"{name!r} cannot be sent to {engine.label}, which gets the text to complete alone."
                raise Unsupported(text, param=name, engine=engine.name)
    return "".join(part.text for message in request.messages for part in message.parts if isinstance(part, Text))
