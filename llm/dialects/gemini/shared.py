"""What both sides of the Gemini wire use: finish reasons, signatures sealed for clients, refusals of options."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

from llm.chat.events import FinishReason
from llm.chat.provider_metadata import Metadata, ProviderMetadata, decode_metadata, encode_metadata
from llm.dialects.base import ClientHeaders
from llm.engines.engine import Engine
from llm.errors import Unsupported
from llm.wire.json_codec import Json

NAME: Final = "gemini"
CONFIG_PREFIX: Final = "generationConfig."  # of the names of fields in it that the neutral model does not have
# The project that pays for a request, of the key's owner.
CLIENT_HEADERS: Final = ClientHeaders(own_accounts=("x-goog-user-project",))
# Replaces the signature of calls from another provider: https://ai.google.dev/gemini-api/docs/thought-signatures
SKIP_SIGNATURE: Final = "skip_thought_signature_validator"
# The answer has reached the limit of one request: https://ai.google.dev/gemini-api/docs/generate-content/long-decode
INTERRUPTED: Final = "CONTINUATION"
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    INTERRUPTED: "length",  # where it is not continued
    "SAFETY": "filtered",
    "RECITATION": "filtered",
    "LANGUAGE": "filtered",
    "BLOCKLIST": "filtered",
    "PROHIBITED_CONTENT": "filtered",
    "SPII": "filtered",
    "IMAGE_SAFETY": "filtered",
    "IMAGE_PROHIBITED_CONTENT": "filtered",
    "IMAGE_RECITATION": "filtered",
    "IMAGE_OTHER": "filtered",
    "NO_IMAGE": "filtered",
    "MODEL_ARMOR": "filtered",
    "ESCALATION": "filtered",
    "PUP_LIMITED_DISABLED": "error",  # the account is limited, as the only reason here
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}

_SEALED: Final = b64encode(b"llm-server.1").decode()  # how each sealed signature begins; a multiple of three bytes
# Values that clients put in the place of a signature that they do not have; the bytes are those of the wire.
_NO_SIGNATURES: Final = frozenset(
    text
    for word in (SKIP_SIGNATURE, "context_engineering_is_the_way_to_go")
    for text in (word, b64encode(word.encode()).decode().rstrip("="))
)
WEB_RUN: Final = "web_run"  # a search or a page, in metadata: the wire has no part for it in a history


def build_refusal(engine: Engine, name: str, reason: str) -> Unsupported:
    """Returns the error for an option or part; its sentence is the engine's label and ``reason``."""
    return Unsupported(f"{engine.label} {reason}.", param=name, engine=engine.name)


def to_base64(text: str) -> str:
    """Returns base64 in the usual alphabet and with its padding; some clients send the alphabet for URLs."""
    text = text.replace("-", "+").replace("_", "/").rstrip("=") if "-" in text or "_" in text else text.rstrip("=")
    return text + "=" * (-len(text) % 4)


def seal_metadata(metadata: Metadata) -> str:
    """Returns the metadata of other dialects as a ``thoughtSignature``; "" if there is none."""
    text = encode_metadata(tuple(one for one in metadata if one.dialect != NAME))
    return b64encode(text.encode()).decode() if text else ""


def is_sealed(signature: object) -> bool:
    """True for the result of :func:`seal_metadata`."""
    return isinstance(signature, str) and signature.startswith(_SEALED)


def unseal_metadata(signature: str) -> Metadata | None:
    """Returns the metadata that :func:`seal_metadata` was given; None for any other signature."""
    if not is_sealed(signature):
        return None
    try:
        return decode_metadata(b64decode(to_base64(signature)).decode())
    except ValueError:
        return None


def is_signature(value: object) -> bool:
    """True for a signature of a provider or of this server, False for what a client sends in its place."""
    return isinstance(value, str) and value.rstrip("=") not in _NO_SIGNATURES and value != ""


_REQUEST_FORM: Final = ""  # an issuer that no engine has


def pack_request_form(**fields: Json) -> Metadata:
    """Stores settings of a client's request that only the writer of its answer reads: no engine gets them."""
    return (ProviderMetadata(NAME, _REQUEST_FORM, fields),)


def shows_thoughts(metadata: Metadata) -> bool:
    """True if the client of a request has asked for thoughts."""
    return any(one.data.get("includeThoughts") for one in metadata if one.issuer == _REQUEST_FORM)
