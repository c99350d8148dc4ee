"""Wire fields that only their provider or client understands, stored beside the neutral values.

Reasoning signatures, item ids, cache marks, unknown fields: they go back unchanged to the side that knows them. So do
ids of tool calls that had to be written in another form.
"""

from __future__ import annotations

import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeAlias

from llm.wire.json_codec import Json, dump_bytes, loads


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """Fields of one wire object, unchanged."""

    dialect: str  # the dialect of the field names in ``data``
    issuer: str | None  # the provider that sent them (``Engine.issuer``); None: a client
    data: Mapping[str, Json]


Metadata: TypeAlias = tuple[ProviderMetadata, ...]  # items of one or several dialects and issuers
_EMPTY: Final[Mapping[str, Json]] = {}
_EMPTY_VALUES: Final[Sequence[Json]] = ("", [])


def unknown_fields(wire: Mapping[str, Any], known: Iterable[str], dialect: str, issuer: str | None) -> Metadata:
    """Returns the fields of ``wire`` other than ``known`` as metadata; ``()`` if there are none."""
    rest = {name: value for name, value in wire.items() if name not in known}
    return (ProviderMetadata(dialect, issuer, rest),) if rest else ()


def metadata_for_engine(metadata: Metadata, dialect: str, issuer: str | None) -> Mapping[str, Json]:
    """Returns the fields to write to an engine: those of its dialect, sent by itself or by a client.

    The fields of another issuer are left out: an engine refuses the signatures of another one.
    """
    if not metadata:
        return _EMPTY
    return _merge(item.data for item in metadata if item.dialect == dialect and item.issuer in (None, issuer))


def metadata_for_client(metadata: Metadata, dialect: str) -> Mapping[str, Json]:
    """Returns the fields to write to a client: those of its dialect, of all issuers, because it only stores them."""
    if not metadata:
        return _EMPTY
    return _merge(item.data for item in metadata if item.dialect == dialect)


def untranslated_fields(metadata: Metadata, dialect: str) -> tuple[str, ...]:
    """Returns the names of client fields of other dialects, which a request in ``dialect`` loses.

    Null, an empty list and an empty text ask for nothing, so nothing is lost with them; an empty object may ask.
    """
    if not metadata:
        return ()
    return tuple(
        name
        for item in metadata
        if item.issuer is None and item.dialect != dialect
        for name, value in item.data.items()
        if value is not None and value not in _EMPTY_VALUES
    )


_PREFIX: Final = "llm-server.1."  # with the version of the format


def encode_metadata(metadata: Metadata) -> str:
    """Encodes metadata as one text, for an opaque field in the wire of a client of another dialect; "" if empty.

    Not signed: a forged text can only contain fields that a client may send anyway.
    """
    return _PREFIX + urlsafe_b64encode(dump_bytes(write_metadata(metadata))).decode() if metadata else ""


def decode_metadata(text: str) -> Metadata | None:
    """Decodes the result of ``encode_metadata``; None for any other text, which is then the client's own."""
    if not text.startswith(_PREFIX):
        return None
    try:
        values = loads(b64decode(text[len(_PREFIX) :], altchars=b"-_", validate=True))
    except ValueError:
        return None
    return read_metadata(values)


def write_metadata(metadata: Metadata) -> Json:
    """Returns metadata as JSON: a list of ``[dialect, issuer, data]``."""
    return [[item.dialect, item.issuer, dict(item.data)] for item in metadata]


def read_metadata(value: Json) -> Metadata | None:
    """Reads the result of ``write_metadata``; None for any other value."""
    if not isinstance(value, list):
        return None
    metadata = []
    for item in value:
        match item:
            case [str(dialect), str() | None as issuer, dict(data)]:
                metadata.append(ProviderMetadata(dialect, issuer, data))
            case _:
                return None
    return tuple(metadata)


def _merge(pieces: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for piece in pieces:
        merged.update(piece)
    return merged


# Ids of tool calls, mapped into the form that another API accepts. The same id always gives the same one.
_PLAIN_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_ENCODED_ID: Final = "call_b64_"
_SHORT_ID: Final = 9  # Mistral's length, and at most that: letters and digits only


def encode_id(id: str) -> str:
    """Returns an id of letters, digits, ``_`` and ``-``: the same if it is one, else a form that can be decoded."""
    if _PLAIN_ID.fullmatch(id):
        return id
    return _ENCODED_ID + urlsafe_b64encode(id.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def decode_id(id: str) -> str:
    """Returns the id that :func:`encode_id` was given; any other id is returned as it is."""
    if not id.startswith(_ENCODED_ID):
        return id
    text = id.removeprefix(_ENCODED_ID)
    try:
        decoded = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        original = decoded.decode("utf-8", "surrogatepass")
    except ValueError:
        return id
    return original if original and encode_id(original) == id else id


def shorten_id(id: str, length: int | None) -> str:
    """Returns the id if it has at most ``length`` characters, else a digest; None: any length is accepted.

    Up to 9 characters the id has to have exactly that length, and only letters and digits.
    """
    if length is None or (len(id) <= length and length > _SHORT_ID):
        return id
    digest = sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
    if length <= _SHORT_ID:
        return id if len(id) == length and id.isalnum() and id.isascii() else digest[:length]
    return f"call_{digest}"[:length]
