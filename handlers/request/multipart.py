"""Reads forms with files (``multipart/form-data``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Final

from tornado.httputil import HTTPFile, HTTPInputError, ParseMultipartConfig, parse_multipart_form_data

from handlers.request.spool import find
from llm.errors import InvalidRequest

_FORM: Final = "multipart/form-data"
# Characters of the header ``Content-Type``. Python parses it in quadratic time: 60 KB of semicolons take ten seconds. A
# boundary has at most 70 characters (RFC 2046).
_MAX_TYPE: Final = 300
MAX_PARTS: Final = 64  # fields and files of a form
_CONFIG: Final = ParseMultipartConfig(max_parts=MAX_PARTS, max_part_header_size=2048)


def is_form(content_type: str) -> bool:
    """True if a ``Content-Type`` is that of a form."""
    return content_type[: len(_FORM)].lower() == _FORM


def read_form(content_type: str, body: bytes) -> tuple[dict[str, list[str]], dict[str, list[HTTPFile]]]:
    """Returns the text fields and the files of a form, by name. Raises ``InvalidRequest``, which quotes no content."""
    if len(content_type) > _MAX_TYPE:
        raise InvalidRequest(f"Content-Type: is longer than {_MAX_TYPE} characters", param="Content-Type")
    header = Message()
    header["Content-Type"] = content_type
    values: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        boundary = (header.get_boundary() or "").encode()
        parse_multipart_form_data(boundary, body, values, files, config=_CONFIG)
        return {name: [value.decode() for value in of_name] for name, of_name in values.items()}, files
    except (HTTPInputError, ValueError):
        raise InvalidRequest("body: is not a multipart/form-data form", param="body") from None


def digest_form(texts: Mapping[str, list[str]], files: Mapping[str, list[HTTPFile]]) -> bytes:
    """Returns a digest that is the same for two forms with the same fields and files."""
    digest = hashlib.sha256(repr(sorted(texts.items())).encode("utf-8", "surrogatepass"))
    for name, of_name in sorted(files.items()):
        for file in of_name:
            described = repr((name, file.filename, file.content_type, len(file.body)))
            digest.update(described.encode("utf-8", "surrogatepass"))
            digest.update(file.body)
    return digest.digest()


_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.I)
_FIELD: Final = re.compile(rb'(?:^|;)\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.I)
_HAS_FILE: Final = re.compile(rb";\s*filename\*?=", re.I)
_DISPOSITION: Final = re.compile(rb"^content-disposition:\s*form-data([^\r\n]*)", re.I | re.M)
_MAX_HEADERS: Final = 4096  # bytes of the headers of a part
_MAX_TEXT: Final = 1024 * 1024  # bytes of a text field


@dataclass(frozen=True, slots=True)
class FormPart:
    """A part of a form, by its places: from its boundary to the next one, and its value inside."""

    name: str
    is_file: bool
    start: int
    value_start: int
    value_end: int
    end: int


class RawForm:
    """A form that is passed on as it came, but for some text fields. Its files are not read."""

    def __init__(self, content_type: str, data: memoryview) -> None:
        """Raises ``InvalidRequest`` for what is no form."""
        match = _BOUNDARY.search(content_type[:_MAX_TYPE])
        if match is None:
            raise _invalid_form()
        self.content_type = content_type
        self._data = data
        self.parts = _split_form(data, b"--" + (match[1] or match[2]).encode("latin-1", "replace"))

    def read_texts(self) -> dict[str, str]:
        """Returns the text fields; of a name that occurs several times the last one. Raises ``InvalidRequest``."""
        texts = {}
        for part in self.parts:
            if part.is_file:
                continue
            if part.value_end - part.value_start > _MAX_TEXT:
                raise InvalidRequest(f"{part.name}: is longer than {_MAX_TEXT} bytes", param=part.name)
            texts[part.name] = bytes(self._data[part.value_start : part.value_end]).decode("utf-8", "replace")
        return texts

    def read_file(self, name: str) -> memoryview | None:
        """Returns the content of a file."""
        found = next((part for part in self.parts if part.is_file and part.name == name), None)
        return None if found is None else self._data[found.value_start : found.value_end]

    def digest(self) -> bytes:
        """Returns a digest that is the same for two forms with the same parts in order, whatever their boundaries."""
        digest = hashlib.sha256()
        for part in self.parts:
            value = self._data[part.value_start : part.value_end]
            digest.update(repr((part.name, part.is_file, len(value))).encode("utf-8", "surrogatepass"))
            digest.update(value)
        return digest.digest()

    def write(
        self, changes: Mapping[str, bytes | memoryview], left_out: Collection[str] = ()
    ) -> tuple[bytes | memoryview, ...]:
        """Returns the form in pieces, with other values for some fields and without others."""
        pieces: list[bytes | memoryview] = []
        data, start = self._data, 0
        for part in self.parts:
            if part.name in left_out:
                pieces.append(data[start : part.start])
                start = part.end
            elif part.name in changes:
                pieces += (data[start : part.value_start], changes[part.name])
                start = part.value_end
        return tuple(piece for piece in (*pieces, data[start:]) if len(piece))


def _split_form(data: memoryview, delimiter: bytes) -> tuple[FormPart, ...]:
    """Finds the parts. Raises ``InvalidRequest`` unless the form is complete."""
    parts: list[FormPart] = []
    start = find(data, delimiter, 0)
    while start >= 0:
        after = start + len(delimiter)
        if bytes(data[after : after + 2]) == b"--":
            return tuple(parts)
        headers_end = find(data, b"\r\n\r\n", after)
        value_end = find(data, b"\r\n" + delimiter, headers_end + 2) if headers_end >= 0 else -1
        if value_end < 0 or headers_end - after > _MAX_HEADERS or len(parts) >= MAX_PARTS:
            break
        headers = bytes(data[after:headers_end])
        disposition = _DISPOSITION.search(headers)
        name = disposition and _FIELD.search(disposition[1])
        if disposition is None or name is None:
            break
        text = (name[1] or name[2] or b"").decode("utf-8", "replace")
        is_file = _HAS_FILE.search(disposition[1]) is not None
        value_start = min(headers_end + 4, value_end)
        parts.append(FormPart(text, is_file, start, value_start, value_end, value_end + 2))
        start = value_end + 2
    raise _invalid_form()


def _invalid_form() -> InvalidRequest:
    return InvalidRequest("body: is not a multipart/form-data form", param="body")
