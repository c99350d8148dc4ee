"""Estimates the tokens of a request, for engines that do not count and for answers that were interrupted.

Tokenizers for all models would be larger than this server, and most are not public. This estimate splits text where
most tokenizers do: words of a few letters, groups of digits, punctuation, line ends. Its error on recorded requests is
checked by ``tests/chat/test_token_estimate.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from llm.chat.messages import Media, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart, Usage
from llm.chat.request import ChatRequest, JsonFormat, ToolSpec
from llm.wire.json_codec import dumps

# The true count differs from the estimate by at most this share plus these tokens: prompt templates are not public.
ERROR_SHARE: Final = 0.3
ERROR_TOKENS: Final = 800

_PIECE: Final = re.compile(
    r"[A-Za-z\u00c0-\u024f]{1,7}"  # a piece of a word
    r"|\d{1,3}"
    r"|[\u0370-\u2fff]{1,3}"  # other alphabets
    r"|[\u3000-\uffff]"  # one character per token
    r"|[\U00010000-\U0010ffff]"
    r"|[^\w\s]{1,2}|_"  # punctuation
    r"|\n+|[ \t]{2,}",
    re.ASCII,
)
_SAMPLE: Final = 50_000  # characters; of a text longer than three samples, only three samples are counted
_EXCERPT: Final = 4_000  # characters that ``RequestSize`` stores of a request
_CHARACTERS_PER_TOKEN: Final = 4
# Tokens besides the text.
_PER_MESSAGE: Final = 4  # role and delimiters
_PER_CALL: Final = 4
_PER_TOOL: Final = 8
_FOR_TOOLS: Final = 250  # the engine's general instructions about tools: 0 to 600
_PER_MEDIA: Final = {"image": 800, "document": 1600, "audio": 800, "video": 2600}


def estimate_text_tokens(text: str) -> int:
    """Estimates the tokens of one text; of a long text, from its beginning, middle and end."""
    if len(text) <= 3 * _SAMPLE:
        return len(_PIECE.findall(text))
    middle = len(text) // 2
    samples = text[:_SAMPLE], text[middle : middle + _SAMPLE], text[-_SAMPLE:]
    return sum(len(_PIECE.findall(sample)) for sample in samples) * len(text) // (3 * _SAMPLE)


class RequestSize:
    """The data for an estimate of a request's input, so that the request can be freed while the answer streams.

    Stores excerpts of long texts: few estimates are ever used, and counting a long text costs more than most requests.
    """

    __slots__ = ("_characters", "_fixed", "_format", "_texts", "_tools")

    def __init__(self, request: ChatRequest) -> None:
        texts: list[str] = []
        self._fixed = _gather_texts(request, texts)
        self._characters = sum(map(len, texts))
        if self._characters > _EXCERPT:
            texts = [" ".join([_excerpt(text, len(text) * _EXCERPT // self._characters) for text in texts])]
        self._texts = tuple(texts)
        self._tools, self._format = request.tools, request.options.format

    def estimate_tokens(self) -> int:
        """Estimates the input tokens of the request."""
        stored, counted = sum(map(len, self._texts)), sum(map(estimate_text_tokens, self._texts))
        if stored and self._characters > _EXCERPT:
            counted = counted * self._characters // stored
        return self._fixed + counted + _count_tools_and_format(self._tools, self._format)


def _excerpt(text: str, size: int) -> str:
    """Returns the beginning, middle and end of ``text``, together about ``size`` characters."""
    third, middle = size // 3 + 1, len(text) // 2
    return text if len(text) <= 3 * third else f"{text[:third]} {text[middle : middle + third]} {text[-third:]}"


def estimate_usage(request_size: RequestSize, characters: int) -> Usage:
    """Estimates the usage of an answer with this many characters; the result is marked as estimated."""
    return Usage(fresh=request_size.estimate_tokens(), text=-(-characters // _CHARACTERS_PER_TOKEN), estimated=True)


def estimate_input_tokens(request: ChatRequest) -> int:
    """Estimates the tokens of the whole input: system prompt, messages, tools, schema, media."""
    texts: list[str] = []
    fixed = _gather_texts(request, texts)
    return (
        fixed + sum(map(estimate_text_tokens, texts)) + _count_tools_and_format(request.tools, request.options.format)
    )


def _gather_texts(request: ChatRequest, texts: list[str]) -> int:
    """Adds the texts of the messages to ``texts``; returns the tokens of everything else in them."""
    return sum([_PER_MESSAGE + _gather_parts(message.parts, texts) for message in request.messages])


def _count_tools_and_format(tools: Sequence[ToolSpec], format_: JsonFormat | None) -> int:
    total = _FOR_TOOLS + sum(map(_count_tool, tools)) if tools else 0
    return total + (estimate_text_tokens(dumps(dict(format_.schema))) if format_ is not None and format_.schema else 0)


def _count_tool(tool: ToolSpec) -> int:
    return (
        _PER_TOOL
        + estimate_text_tokens(tool.name)
        + estimate_text_tokens(tool.description)
        + estimate_text_tokens(dumps(dict(tool.parameters)))
    )


def _gather_parts(parts: Iterable[Part], texts: list[str]) -> int:
    total = 0
    for part in parts:
        match part:
            case Text(text) | Reasoning(text):
                texts.append(text)
            case Media():
                total += _PER_MEDIA[part.kind]
            case ToolCall(name=name, arguments=arguments):
                total += _PER_CALL
                texts += (name, arguments)
            case ToolResult(content=content):
                total += _PER_CALL + _gather_parts(content, texts)
            case UnknownPart() if part.metadata:
                texts.append(dumps({**part.metadata[0].data}))
    return total
