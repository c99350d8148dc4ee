"""Reads the bodies of ``POST /v1/completions`` and ``/v1/fim/completions`` as a ChatRequest with one message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.chat.request import ChatRequest, Options
from llm.dialects.openai_chat.shared import NAME as CHAT
from llm.engines.api_choice import COMPLETIONS
from llm.wire.json_strict import raise_invalid, read_number, read_text, read_typed

_KNOWN: Final = frozenset({
    "model", "prompt", "suffix", "stream", "stream_options", "max_tokens", "temperature", "top_p", "stop", "seed",
    "random_seed", "presence_penalty", "frequency_penalty",
})  # fmt: skip
# Fields whose answers only a completions API has: several texts, the prompt in front, the older form of logprobs.
_ONLY_HERE: Final = ("n", "best_of", "echo", "logprobs", "min_tokens")
_DEFAULTS: Final[Mapping[str, object]] = {
    "n": 1, "best_of": 1, "echo": False, "logit_bias": {}, "metadata": {}, "stream_options": {},
}  # fmt: skip
_DROPPABLE: Final = frozenset({"user", "metadata"})


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Reads a request body. Raises ``InvalidRequest`` with the field's path."""
    text, metadata = _read_prompt(body)
    stream = read_typed(body, "stream", bool) or False
    stream_options = read_typed(body, "stream_options", dict) or {}
    suffix = read_typed(body, "suffix", str) or None
    return ChatRequest(
        model=read_text(body, "model", ""),
        messages=(Message("user", (Text(text),)),),
        options=_read_options(body),
        stream=stream,
        show_usage=bool(stream_options.get("include_usage")) if stream else True,
        metadata=(*metadata, *_read_other_fields(body)),
        droppable_fields=_DROPPABLE,
        default_fields=frozenset(name for name, value in _DEFAULTS.items() if name in body and body[name] == value),
        suffix=suffix,
    )


def _read_prompt(body: Mapping[str, Any]) -> tuple[str, Metadata]:
    """Returns the prompt. A list of prompts, or tokens, is kept as metadata: only a completions API takes it."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return prompt, ()
    if not isinstance(prompt, str | list | None):
        raise_invalid("prompt", "must be text, a list of texts, or tokens")
    kept = prompt if isinstance(prompt, list) and prompt else [""]
    return "", (ProviderMetadata(COMPLETIONS, None, {"prompt": kept}),)


def _read_other_fields(body: Mapping[str, Any]) -> Metadata:
    """Returns the fields of completions alone, then those that Chat Completions has too."""
    rest = {name: value for name, value in body.items() if name not in _KNOWN and value is not None}
    own = {name: rest.pop(name) for name in _ONLY_HERE if name in rest}
    found = (ProviderMetadata(COMPLETIONS, None, own), ProviderMetadata(CHAT, None, rest))
    return tuple(one for one in found if one.data)


def _read_options(body: Mapping[str, Any]) -> Options:
    stop = body.get("stop")
    stop = [stop] if isinstance(stop, str) and stop else stop or ()
    if not isinstance(stop, list | tuple) or not all(isinstance(one, str) for one in stop):
        raise_invalid("stop", "must be text or a list of texts")
    seed = read_typed(body, "seed", int)
    return Options(
        max_tokens=read_typed(body, "max_tokens", int),
        temperature=read_number(body, "temperature"),
        top_p=read_number(body, "top_p"),
        stop=tuple(stop),
        seed=seed if seed is not None else read_typed(body, "random_seed", int),
        presence_penalty=read_number(body, "presence_penalty"),
        frequency_penalty=read_number(body, "frequency_penalty"),
    )
