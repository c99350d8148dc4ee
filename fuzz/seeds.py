"""Where a fuzzer starts: what each parser is made to read."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fuzz.harnesses import HARNESSES
from llm.config.settings import SETTINGS
from tests.support.bodies import BODIES
from tests.support.paths import SAMPLES

_SCHEMAS: Final[list[dict[str, Any]]] = [
    {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}, "required": ["x"]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}, "type": "object"}}},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "anyOf": [{"$ref": "#/$defs/a"}, True]},
    {"allOf": [{"$ref": "#"}, {"type": ["string", "null"], "enum": ["a", None]}], "nullable": True, "const": 1},
    {"type": "array", "items": [{"type": "string"}], "additionalItems": False, "prefixItems": [{}], "minItems": 2},
    {"oneOf": [{"type": "number"}, {"type": "string", "format": "date", "pattern": "^a"}], "$dynamicRef": "#x"},
]
_ANSWERS: Final = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;a=b\r\nxyz\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.0 200\r\nConnection: keep-alive\r\n\r\nto the end",
    b"HTTP/1.1 204 No Content\r\n\r\n",
]
_REQUESTS: Final = [
    b"GET /llm/engines?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"\r\nPOST / HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n2\r\n{}\r\n0a\r\n0123456789\r\n0\r\n\r\n",
]
_FRAMES: Final = [  # masked with zeros, so that a mutation of the text is one of the text
    b'\x81\x8d\0\0\0\0{"type": "x"}',
    b"\x01\x82\0\0\0\0ab\x89\x81\1\2\3\4p\x80\x82\0\0\0\0cd",
    b"\x88\x85\0\0\0\0\x03\xe8bye",
    b"\x82\xfe\0\x7e\0\0\0\0" + b"b" * 126,
]
_FORM: Final = (
    b'multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--x--\r\n'
)
_HEADERS: Final = (
    "5", "0.5", "-1", "1e3", "inf", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "x-openai-key",
    "text/event-stream, */*;q=0.1", "application/x-ndjson", "audio/mpeg; rate=24000", "audio/L16;rate=24000;channels=1", "gzip",
)  # fmt: skip
_TASKS: Final[list[dict[str, Any]]] = [
    {
        "data": [{"embedding": [0.1, 2], "index": 0}, {"embedding": "AACAPwAAAEA=", "index": 1}],
        "usage": {"prompt_tokens": 3},
    },
    {"embedding": {"values": [1.0]}, "embeddings": [{"values": [1.5]}, [1, 2]], "prompt_eval_count": 2},
    {
        "text": "Hi",
        "language": "en",
        "duration": 1.5,
        "segments": [{"start": 0}],
        "usage": {"type": "tokens", "total_tokens": 4},
    },
    {
        "model": "openai/m",
        "input": ["a", [1, 2]],
        "dimensions": 3,
        "encoding_format": "base64",
        "voice": "alloy",
        "speed": 1,
    },
    {"text": "Hi", "engine": "openai", "format": "mp3", "audio": "data:audio/wav;base64,AAAA", "mimeType": "audio/wav"},
]
_MODELS: Final[list[dict[str, Any]]] = [
    {
        "data": [
            {"id": "gpt-5", "created": 1700000000, "object": "model", "context_length": 8},
            {"id": "x", "type": "model"},
        ]
    },
    {
        "models": [
            {"name": "models/gemini-3-pro", "supportedGenerationMethods": ["generateContent"], "inputTokenLimit": 5}
        ]
    },
    {
        "models": [
            {"name": "llama3:8b", "model": "llama3:8b", "details": {"families": ["llama"]}, "capabilities": ["tools"]}
        ]
    },
    {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "code": "x",
            "status": "INVALID",
            "details": [{"reason": "y"}],
        }
    },
]


def _json(values: Iterable[Any]) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def _streams(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((SAMPLES / name).glob("*")) if path.suffix in (".sse", ".ndjson")]


def _whole(name: str) -> list[bytes]:
    """The events of streams, each as a whole answer."""
    lines = {line.removeprefix(b"data: ") for raw in _streams(name) for line in raw.splitlines() if b"{" in line}
    return [*sorted(lines), *(path.read_bytes() for path in sorted((SAMPLES / name).glob("*.json")))]


def _first(number: int, seeds: Iterable[bytes]) -> list[bytes]:
    return [bytes([number]) + seed for seed in seeds]


SEEDS: Final[Mapping[str, list[bytes]]] = {
    "framing": _first(7, [raw[:2000] for name in ("openai-chat", "ollama") for raw in _streams(name)]),
    "response": _first(5, _ANSWERS),
    "requests": _first(5, _REQUESTS),
    "websocket": _first(3, _FRAMES),
    "compression": _first(
        3, [gzip.compress(b"Hello" * 50, mtime=0), zlib.compress(b"Hello"), gzip.compress(b"", mtime=0) * 3]
    ),
    "tasks": _json(_TASKS),
    "form": [_FORM, _FORM.replace(b"=x", b'="x"', 1)],
    "attachments": [
        b"image/png\n\x89PNG\r\n\x1a\n",
        b"text/plain;charset=utf-8\nHello",
        b"application/pdf\n%PDF",
        b"audio/wav\nRIFF",
    ],
    "schemas": _json(_SCHEMAS),
    "headers": [header.encode() for header in _HEADERS],
    "stored": [
        b'[["openai-chat", null, {"a": 1}], ["anthropic", "anthropic", {"signature": "x"}]]',
        b'[{"role": "user", "content": "Hi", "attachments": [{"mimeType": "image/png", "content": "AAAA"}]}]',
        b'{"role": "assistant", "parts": [{"type": "text", "text": "Hi"}, {"type": "tool_call", "id": "a", "name": "f"}]}',
    ],
    "addresses": [
        b"https://example.org:8443/a?b=c#d\nexample.org,.internal, 10.0.0.0/8 [::1]:80 *.x:443",
        b"http://user@[fe80::1%25lo]/\nhttp://u:p%40@proxy:3128",
    ],
    "settings": [
        bytes([n]) + value for n in range(len(SETTINGS) + 10) for value in (b"1", b"32MB", b"http://x:1/v1", b"a,b:80")
    ],
    "pages": [
        b"utf-8\n<meta charset='koi8-r'>\xc1",
        b'gb18030\n<?xml version="1.0" encoding="shift_jis"?>\x81\x30',
        b"\xff\xfea\0",
    ],
    **{name: _first(9, _streams(name.removeprefix("stream-"))) for name in HARNESSES if name.startswith("stream-")},
    **{
        name: _first(0, [*_whole(name.removeprefix("reply-")), *_json(_MODELS)])
        for name in HARNESSES
        if name.startswith("reply-")
    },
    **{name: _json([BODIES[name.removeprefix("request-")][2]]) for name in HARNESSES if name.startswith("request-")},
}


# What broke something once.
SEEDS["response"].append(
    b"\x05HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nok\r\nxyz\r\n0\x05\nT: xy\r\n\r"
)
SEEDS["stream-anthropic"].append(
    b'\x09data: {"type":"message_start","message":{"id":"m"}}\n\n'
    b'data: {"type":"content_block_start","index":0,"content_block":{"x":1}}\n\n'
    b'data: {"type":"content_block_stop","index":0}\n\ndata: {"type":"message_stop"}\n\n'
)
SEEDS["stored"].append(b'[{"role": "user", "content": "Hi", "attachment": "Hi", "attachments": {"a": 1}}]')
SEEDS["request-ollama"].append(b'{"model": "google/\\ud83d", "messages": [{"role": "user", "content": "Hi"}]}')


def words(seeds: Iterable[bytes]) -> list[bytes]:
    """Names and short texts, which a fuzzer may put anywhere."""
    found = {word for seed in seeds for word in re.findall(rb'"[A-Za-z0-9_./-]{2,24}"', seed)}
    return sorted(found)[:400]
