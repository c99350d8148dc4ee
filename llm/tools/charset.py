"""Decodes web pages: the encoding comes from the byte order mark, the header or the page, in this order.

Labels are untrusted, so only the encodings of https://encoding.spec.whatwg.org/ are accepted; some other codecs of
Python are not text encodings, or are slow on crafted bytes.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_HEAD_SIZE: Final = 1024  # bytes at the start of a page that may name its encoding
_META: Final = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_XML: Final = re.compile(rb"^\s*<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Python's names of encodings that are used as they are.
_SAME: Final = frozenset(
    {
        "utf-8", "utf-16-le", "utf-16-be", "koi8-r", "koi8-u", "cp866", "cp874", "gb18030", "big5", "big5hkscs",
        "euc_jp", "iso2022_jp", "mac-roman", "mac-cyrillic",
        *(f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
        *(f"cp125{n}" for n in range(9)),
    }
)  # fmt: skip
# On the web these labels mean a larger encoding.
_SUPERSETS: Final = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "cp932": "cp932", "euc_kr": "cp949", "cp949": "cp949",
    "utf-16": "utf-16-le",
}  # fmt: skip


def decode_text(body: bytes, header_charset: str = "") -> str:
    """Decodes a page. ``header_charset``: of the Content-Type header, or ``""``. Invalid bytes become U+FFFD."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    found = _META.search(body[:_HEAD_SIZE]) or _XML.match(body[:_HEAD_SIZE])
    for label in (header_charset, found[1].decode() if found else ""):
        if label and (known := _find_encoding(label)):
            # A page whose label could be read as ASCII is not in UTF-16.
            return body.decode("utf-8" if label != header_charset and known.startswith("utf-16") else known, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _find_encoding(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):  # ValueError: a NUL in it
        return None
    return name if name in _SAME else _SUPERSETS.get(name)
