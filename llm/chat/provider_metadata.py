"""Wire data that only its maker understands, kept beside the neutral values to be handed back unchanged."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from llm.wire.json_codec import Json, dump_bytes, loads


@dataclass(frozen=True, slots=True)
class Opaque:
    """Some fields of one wire object, as they came."""

    dialect: str  # whose field names ``data`` uses
    issuer: str | None  # whose signature it bears (``Engine.issuer``); None: a client sent it
    data: Mapping[str, Json]


Keep: TypeAlias = tuple[Opaque, ...]
_NOTHING: Final[Mapping[str, Json]] = {}


def rest_of(wire: Mapping[str, Any], known: Iterable[str], dialect: str, issuer: str | None) -> Keep:
    """What ``wire`` holds beyond the ``known`` names; ``()`` when that is nothing."""
    rest = {name: value for name, value in wire.items() if name not in known}
    return (Opaque(dialect, issuer, rest),) if rest else ()


def opaque_for(keep: Keep, dialect: str, issuer: str | None) -> Mapping[str, Json]:
    """The fields to write towards an engine: of its dialect, and its own or a client's.

    Another engine's signature is an error there, so it stays behind.
    """
    if not keep:
        return _NOTHING
    return _merged(o.data for o in keep if o.dialect == dialect and o.issuer in (None, issuer))


def opaque_to_client(keep: Keep, dialect: str) -> Mapping[str, Json]:
    """The fields to write towards a client, which only stores them: all of its dialect, whoever issued them."""
    if not keep:
        return _NOTHING
    return _merged(o.data for o in keep if o.dialect == dialect)


def fields_lost(keep: Keep, dialect: str) -> tuple[str, ...]:
    """Names that a client sent in another dialect than the one being written, so that their loss can be told."""
    if not keep:
        return ()
    return tuple(name for o in keep if o.issuer is None and o.dialect != dialect for name in o.data)


_SEAL: Final = "llm-server.1."


def seal(keep: Keep) -> str:
    """``keep`` as one string, for a client of another dialect whose wire has an opaque field; "" for nothing.

    It bears no signature of ours: whoever forges one says nothing that the dialect itself could not say.
    """
    return _SEAL + urlsafe_b64encode(dump_bytes(write_keep(keep))).decode() if keep else ""


def unseal(text: str) -> Keep | None:
    """What :func:`seal` made; None for any other string, which is then the client's own."""
    if not text.startswith(_SEAL):
        return None
    try:
        values = loads(b64decode(text[len(_SEAL) :], altchars=b"-_", validate=True))
    except ValueError:
        return None
    return read_keep(values)


def write_keep(keep: Keep) -> Json:
    return [[opaque.dialect, opaque.issuer, dict(opaque.data)] for opaque in keep]


def read_keep(value: Json) -> Keep | None:
    """What :func:`write_keep` made; None for anything else."""
    if not isinstance(value, list):
        return None
    keep = []
    for item in value:
        match item:
            case [str(dialect), str() | None as issuer, dict(data)]:
                keep.append(Opaque(dialect, issuer, data))
            case _:
                return None
    return tuple(keep)


def _merged(pieces: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for piece in pieces:
        merged.update(piece)
    return merged
