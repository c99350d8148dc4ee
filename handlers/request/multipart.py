"""Reads forms with files (``multipart/form-data``)."""

from __future__ import annotations

from email.message import Message
from typing import Final

from tornado.httputil import HTTPFile, HTTPInputError, ParseMultipartConfig, parse_multipart_form_data

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
