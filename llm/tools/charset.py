"""Bytes of the web to text: the byte order mark, the header and the page itself say how, in this order.

Labels are untrusted, so only the encodings of https://encoding.spec.whatwg.org/ are known; some of Python's others are
no encodings of text, or slow on purpose-made bytes.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_LOOK: Final = 1024  # bytes of a page in which it may name its encoding
_META: Final = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_XML: Final = re.compile(rb"^\s*<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_SAME: Final = frozenset(
    {
        "utf-8", "utf-16-le", "utf-16-be", "koi8-r", "koi8-u", "cp866", "cp874", "gb18030", "big5", "big5hkscs",
        "euc_jp", "iso2022_jp", "mac-roman", "mac-cyrillic",
        *(f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
        *(f"cp125{n}" for n in range(9)),
    }
)  # fmt: skip
# What is meant by these labels on the web is the larger encoding.
_LARGER: Final = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "cp932": "cp932", "euc_kr": "cp949", "cp949": "cp949",
    "utf-16": "utf-16-le",
}  # fmt: skip


def decoded(body: bytes, told: str = "") -> str:
    """``told`` is the header's charset or ``""``. What cannot be read becomes U+FFFD; nothing is raised."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    found = _META.search(body[:_LOOK]) or _XML.match(body[:_LOOK])
    for label in (told, found[1].decode() if found else ""):
        if label and (known := _known(label)):
            # A page that can be read far enough to say so is not in UTF-16.
            return body.decode("utf-8" if label != told and known.startswith("utf-16") else known, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _known(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):  # ValueError: a NUL in it
        return None
    return name if name in _SAME else _LARGER.get(name)
