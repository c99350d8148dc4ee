"""Wire fields that only their provider or client understands, stored beside the neutral values.

Reasoning signatures, item ids, cache marks, unknown fields: they go back unchanged to the side that knows them.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from llm.wire.json_codec import Json, dump_bytes, loads


@dataclass(frozen=True, slots=True)
class Opaque:
    """Fields of one wire object, unchanged."""

    dialect: str  # the dialect of the field names in ``data``
    issuer: str | None  # the provider that sent them (``Engine.issuer``); None: a client
    data: Mapping[str, Json]


Keep: TypeAlias = tuple[Opaque, ...]  # items of one or several dialects and issuers
_EMPTY: Final[Mapping[str, Json]] = {}


def rest_of(wire: Mapping[str, Any], known: Iterable[str], dialect: str, issuer: str | None) -> Keep:
    """Returns the fields of ``wire`` other than ``known`` as metadata; ``()`` if there are none."""
    rest = {name: value for name, value in wire.items() if name not in known}
    return (Opaque(dialect, issuer, rest),) if rest else ()


def opaque_for(keep: Keep, dialect: str, issuer: str | None) -> Mapping[str, Json]:
    """Returns the fields to write to an engine: those of its dialect, sent by itself or by a client.

    The fields of another issuer are left out: an engine refuses the signatures of another one.
    """
    if not keep:
        return _EMPTY
    return _merge(item.data for item in keep if item.dialect == dialect and item.issuer in (None, issuer))


def opaque_to_client(keep: Keep, dialect: str) -> Mapping[str, Json]:
    """Returns the fields to write to a client: those of its dialect, of all issuers, because it only stores them."""
    if not keep:
        return _EMPTY
    return _merge(item.data for item in keep if item.dialect == dialect)


def fields_lost(keep: Keep, dialect: str) -> tuple[str, ...]:
    """Returns the names of client fields of other dialects, which a request in ``dialect`` loses."""
    if not keep:
        return ()
    return tuple(name for item in keep if item.issuer is None and item.dialect != dialect for name in item.data)


_PREFIX: Final = "llm-server.1."  # with the version of the format


def seal(keep: Keep) -> str:
    """Encodes metadata as one text, for an opaque field in the wire of a client of another dialect; "" if empty.

    Not signed: a forged text can only contain fields that a client may send anyway.
    """
    return _PREFIX + urlsafe_b64encode(dump_bytes(write_keep(keep))).decode() if keep else ""


def unseal(text: str) -> Keep | None:
    """Decodes the result of ``encode_metadata``; None for any other text, which is then the client's own."""
    if not text.startswith(_PREFIX):
        return None
    try:
        values = loads(b64decode(text[len(_PREFIX) :], altchars=b"-_", validate=True))
    except ValueError:
        return None
    return read_keep(values)


def write_keep(keep: Keep) -> Json:
    """Returns metadata as JSON: a list of ``[dialect, issuer, data]``."""
    return [[item.dialect, item.issuer, dict(item.data)] for item in keep]


def read_keep(value: Json) -> Keep | None:
    """Reads the result of ``write_metadata``; None for any other value."""
    if not isinstance(value, list):
        return None
    metadata = []
    for item in value:
        match item:
            case [str(dialect), str() | None as issuer, dict(data)]:
                metadata.append(Opaque(dialect, issuer, data))
            case _:
                return None
    return tuple(metadata)


def _merge(pieces: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for piece in pieces:
        merged.update(piece)
    return merged
