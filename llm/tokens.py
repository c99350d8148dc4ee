"""How many tokens a request has, by rule of thumb: for engines that do not count, and answers that nobody finished.

A tokenizer for every model would be larger than this server, and most are secret. This one cuts a text as they do where
they agree: words of a few letters, groups of digits, marks, line ends. ``tests/test_counting.py`` holds its error
against what providers told of recorded requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from llm.chat import ChatRequest, Foreign, Media, Part, Reasoning, Text, ToolCall, ToolResult, ToolSpec, Usage
from llm.codec import dumps

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


def estimated_usage(request: ChatRequest, characters: int) -> Usage:
    """What an answer of so many characters used, marked as estimated."""
    return Usage(fresh=estimate(request), text=-(-characters // _CHARACTERS_PER_TOKEN), estimated=True)


def estimate(request: ChatRequest) -> int:
    """Of the whole input: system prompt, messages, tools, schema, media."""
    total = sum(_OF_MESSAGE + _of_parts(message.parts) for message in request.messages)
    if request.tools:
        total += _OF_TOOLS + sum(map(_of_tool, request.tools))
    wanted = request.options.format
    return total + (count_text(dumps(dict(wanted.schema))) if wanted is not None and wanted.schema else 0)


def _of_tool(tool: ToolSpec) -> int:
    return _OF_TOOL + count_text(tool.name) + count_text(tool.description) + count_text(dumps(dict(tool.parameters)))


def _of_parts(parts: Iterable[Part]) -> int:
    total = 0
    for part in parts:
        match part:
            case Text(text) | Reasoning(text):
                total += count_text(text)
            case Media():
                total += _OF_MEDIA[part.kind]
            case ToolCall(name=name, arguments=arguments):
                total += _OF_CALL + count_text(name) + count_text(arguments)
            case ToolResult(content=content):
                total += _OF_CALL + _of_parts(content)
            case Foreign():
                total += count_text(dumps({**part.keep[0].data})) if part.keep else 0
    return total
