"""How many tokens a request has, by rule of thumb: for engines that do not count, and answers that nobody finished.

A tokenizer for every model would be larger than this server, and most are secret. This one cuts a text as they do where
they agree: words of a few letters, groups of digits, marks, line ends. ``tests/chat/test_token_estimate.py`` holds its
error against what providers told of recorded requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from llm.chat.messages import Foreign, Media, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.request import ChatRequest, JsonFormat, ToolSpec
from llm.wire.json_codec import dumps

# The true count is within this share of the estimate, and so many more or less: templates that nobody shows us.
ERROR_SHARE: Final = 0.3
ERROR_TOKENS: Final = 800

_PIECE: Final = re.compile(
    r"[A-Za-z\u00c0-\u024f]{1,7}"  # of a word
    r"|\d{1,3}"
    r"|[\u0370-\u2fff]{1,3}"  # other alphabets
    r"|[\u3000-\uffff]"  # a character that is a word
    r"|[\U00010000-\U0010ffff]"
    r"|[^\w\s]{1,2}|_"  # marks
    r"|\n+|[ \t]{2,}",
    re.ASCII,
)
_SAMPLE: Final = 50_000  # characters
_EXCERPT: Final = 4_000  # characters
_CHARACTERS_PER_TOKEN: Final = 4
_OF_MESSAGE: Final = 4  # its role and its ends
_OF_CALL: Final = 4
_OF_TOOL: Final = 8
_OF_TOOLS: Final = 250  # what most engines tell their model of tools as such: 0 to 600
_OF_MEDIA: Final = {"image": 800, "document": 1600, "audio": 800, "video": 2600}


def count_text(text: str) -> int:
    """A text too long to be read in a moment is judged by its beginning, middle and end."""
    if len(text) <= 3 * _SAMPLE:
        return len(_PIECE.findall(text))
    middle = len(text) // 2
    samples = text[:_SAMPLE], text[middle : middle + _SAMPLE], text[-_SAMPLE:]
    return sum(len(_PIECE.findall(sample)) for sample in samples) * len(text) // (3 * _SAMPLE)


class Input:
    """What an estimate of a request's input needs of it, so that the rest can go while the answer comes.

    Of long texts that is an excerpt: to count them costs more than most requests do, and few are ever asked about.
    """

    __slots__ = ("_characters", "_fixed", "_format", "_texts", "_tools")

    def __init__(self, request: ChatRequest) -> None:
        texts: list[str] = []
        self._fixed = _gather(request, texts)
        self._characters = sum(map(len, texts))
        if self._characters > _EXCERPT:
            texts = [" ".join([_excerpt(text, len(text) * _EXCERPT // self._characters) for text in texts])]
        self._texts = tuple(texts)
        self._tools, self._format = request.tools, request.options.format

    def tokens(self) -> int:
        kept, counted = sum(map(len, self._texts)), sum(map(count_text, self._texts))
        if kept and self._characters > _EXCERPT:
            counted = counted * self._characters // kept
        return self._fixed + counted + _of_rest(self._tools, self._format)


def _excerpt(text: str, size: int) -> str:
    """Beginning, middle and end, of so many characters together."""
    third, middle = size // 3 + 1, len(text) // 2
    return text if len(text) <= 3 * third else f"{text[:third]} {text[middle : middle + third]} {text[-third:]}"


def estimated_usage(asked: Input, characters: int) -> Usage:
    """What an answer of so many characters used, marked as estimated."""
    return Usage(fresh=asked.tokens(), text=-(-characters // _CHARACTERS_PER_TOKEN), estimated=True)


def estimate(request: ChatRequest) -> int:
    """Of the whole input: system prompt, messages, tools, schema, media."""
    texts: list[str] = []
    fixed = _gather(request, texts)
    return fixed + sum(map(count_text, texts)) + _of_rest(request.tools, request.options.format)


def _gather(request: ChatRequest, texts: list[str]) -> int:
    """Adds the texts of the messages to ``texts``; returns the tokens of what is no text there."""
    return sum([_OF_MESSAGE + _of_parts(message.parts, texts) for message in request.messages])


def _of_rest(tools: Sequence[ToolSpec], wanted: JsonFormat | None) -> int:
    total = _OF_TOOLS + sum(map(_of_tool, tools)) if tools else 0
    return total + (count_text(dumps(dict(wanted.schema))) if wanted is not None and wanted.schema else 0)


def _of_tool(tool: ToolSpec) -> int:
    return _OF_TOOL + count_text(tool.name) + count_text(tool.description) + count_text(dumps(dict(tool.parameters)))


def _of_parts(parts: Iterable[Part], texts: list[str]) -> int:
    total = 0
    for part in parts:
        match part:
            case Text(text) | Reasoning(text):
                texts.append(text)
            case Media():
                total += _OF_MEDIA[part.kind]
            case ToolCall(name=name, arguments=arguments):
                total += _OF_CALL
                texts += (name, arguments)
            case ToolResult(content=content):
                total += _OF_CALL + _of_parts(content, texts)
            case Foreign() if part.keep:
                texts.append(dumps({**part.keep[0].data}))
    return total
