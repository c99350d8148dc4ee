"""Configuration and services that all handlers share, created once at start."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from tornado.web import HTTPError

from handlers.request.active import ActiveRequests
from handlers.request.active_peers import Peers
from handlers.request.idempotency import RepeatedRequests
from handlers.request.limits import BodyBudget, ConcurrencyLimit, WrongIds
from handlers.request.schema import Schemas
from llm.config.settings import Config
from llm.errors import InvalidRequest
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.gateway.chat import ChatService
from llm.gateway.engine_files import EngineFiles
from llm.gateway.responses.background import BackgroundResponses
from llm.gateway.responses.connection import Sockets
from llm.gateway.responses.keeper import ResponseKeeper
from llm.gateway.signature_cache import SignatureCache
from llm.storage.images import ImageStore
from llm.storage.threads import ThreadStore
from llm.tools.base import Tools
from llm.tools.fetcher import Fetcher
from llm.upstream.engine_client import EngineClient

# Domains that are in no public DNS (RFC 6761, 6762, 8375; .internal is reserved by ICANN).
_LOCAL_NAMES: Final = (".localhost", ".local", ".home.arpa", ".internal", ".test")


@dataclass(frozen=True, slots=True)
class Context:
    """Configuration and services of one process."""

    config: Config
    client: EngineClient
    catalog: Catalog
    active: ActiveRequests
    images: ImageStore
    fetcher: Fetcher
    tools: Tools
    threads: ThreadStore
    peers: Peers
    concurrency: ConcurrencyLimit
    body_budget: BodyBudget
    upload_budget: BodyBudget
    files: EngineFiles
    signatures: SignatureCache
    chat: ChatService
    responses: ResponseKeeper
    repeated: RepeatedRequests
    schemas: Schemas = field(default_factory=Schemas)
    wrong_ids: WrongIds = field(default_factory=WrongIds)
    sockets: Sockets = field(init=False)
    background: BackgroundResponses = field(init=False)

    def __post_init__(self) -> None:
        config, store = self.config, self.responses.store
        limits = config.max_background_answers, config.max_background_time
        object.__setattr__(self, "sockets", Sockets(config.websocket_max_size))  # the class is frozen
        object.__setattr__(self, "background", BackgroundResponses(self.chat, store, *limits))

    async def close(self) -> None:
        """Ends all services, after their pending work."""
        self.peers.close()
        self.active.close()
        self.catalog.close()
        await self.fetcher.close()
        for part in (self.background, self.threads, self.responses, self.files):
            await part.close()
        self.signatures.close()
        self.repeated.close()
        for transport in {id(t): t for t in self.client.transports.values()}.values():
            await transport.close()

    def is_client_id(self, client_id: str) -> bool:
        """True if this is an authorized client id. Takes the same time for every wrong id."""
        if self.config.open_to_all:
            return True
        candidate = client_id.encode()
        found = False
        for authorized in self.config.client_ids:
            found |= hmac.compare_digest(candidate, authorized.encode())
        return found

    def check_host(self, host: str) -> None:
        """Refuses a request for a foreign host name, where no client id is needed (``open_to_all``).

        A web page can make its own name lead to this server (DNS rebinding) and is then of the same origin. Addresses,
        names without a dot and names that no page can have are taken, and those of ``PUBLIC_URL``, ``HOST`` and
        ``CORS_ORIGINS``. Raises ``HTTPError``.
        """
        config = self.config
        name = _read_name(host)
        if "." not in name or name.endswith(_LOCAL_NAMES) or _is_address(name):
            return
        own = [part.strip().lower() for part in config.host.split(",")]
        own += [_read_name(urlsplit(url).netloc) for url in (config.public_url, *config.cors_origins)]
        if name not in own:
            raise HTTPError(403, f"Host {name[:100]} is not a name of this server (PUBLIC_URL)")

    def find_client_id(self, candidates: Iterable[str]) -> str:
        """Returns the first of the candidates that is a client id, else ``""``."""
        for client_id in candidates:
            if not client_id:
                continue
            if self.is_client_id(client_id):
                return client_id
            if not client_id.isascii() and self.is_client_id(text := _read_utf8(client_id)):
                return text
        return ""

    def _select_keys(self, keys: dict[str, str], trusted: bool) -> dict[str, str]:
        """Returns the keys for engines that take callers' own keys (``OWN_KEYS``).

        A caller with a client id could use the server's key instead, so it is told. Raises ``InvalidRequest``.
        """
        taken = self.config.own_keys
        refused = [engine for engine in keys if engine not in taken]
        if not refused or (trusted and not self.config.own_keys_text):
            return keys
        if trusted:
            message = f"This server takes no key of a caller for {refused[0]} (OWN_KEYS)."
            raise InvalidRequest(message, param=f"{refused[0]}Key")
        return {engine: key for engine, key in keys.items() if engine in taken}

    def make_caller(self, client_id: str, keys: dict[str, str]) -> Caller:
        """Returns the caller with this client id (``""``: none) and these own provider keys, by engine."""
        if client_id and not keys:
            return _client(client_id)
        if client_id:
            names = {_name("client", client_id)}
        elif self.config.open_to_all:
            names = {"anyone"}
        else:
            names = {_name(engine, key) for engine, key in keys.items()}
        trusted = bool(client_id) or self.config.open_to_all
        keys = self._select_keys(keys, trusted)
        return Caller(trusted=trusted, names=frozenset(names), keys=keys)


def _read_name(authority: str) -> str:
    """Returns the name of a host with or without a port, in lower case."""
    name = authority.rpartition("@")[2].lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _read_utf8(header: str) -> str:
    """Returns a header, whose bytes are read as Latin-1, as the UTF-8 that most clients send."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


@lru_cache(maxsize=256)
def _client(client_id: str) -> Caller:
    """Returns the caller with a client id and no own key; cached, the same object for all its requests."""
    return Caller(trusted=True, names=frozenset({_name("client", client_id)}))


def _name(kind: str, secret: str) -> str:
    """Returns the hash by which a caller is known, the same in every process. Storage hashes it again, with a salt."""
    return hashlib.blake2b(f"{kind}:{secret}".encode(), digest_size=16).hexdigest()
