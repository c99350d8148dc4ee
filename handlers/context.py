"""What the handlers are given: configuration and services, made once at start."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from handlers.request.active import Running
from handlers.request.active_peers import Peers
from handlers.request.limits import Answers, KeptBodies
from handlers.request.schema import Schemas
from llm.config.settings import Config
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.gateway.chat import ChatService
from llm.gateway.signature_cache import Memo
from llm.storage.images import ImageStore
from llm.storage.threads import ThreadStore
from llm.tools.base import Tools
from llm.tools.fetcher import Fetcher
from llm.upstream.engine_client import Services


@dataclass(frozen=True, slots=True)
class Context:
    config: Config
    services: Services
    catalog: Catalog
    running: Running
    schemas: Schemas
    images: ImageStore
    fetcher: Fetcher
    tools: Tools
    threads: ThreadStore
    peers: Peers
    answers: Answers
    kept_bodies: KeptBodies
    memo: Memo
    chat: ChatService

    def knows(self, client_id: str) -> bool:
        """Whether this is one of the authorized ids; takes the same time for every wrong one."""
        if self.config.open_to_all:
            return True
        given = client_id.encode()
        found = False
        for known in self.config.client_ids:
            found |= hmac.compare_digest(given, known.encode())
        return found

    def client_of(self, offered: Iterable[str]) -> str:
        """The first of these that is a client id; else nothing."""
        for client_id in offered:
            if client_id and self.knows(client_id):
                return client_id
        return ""

    def caller(self, client_id: str, keys: dict[str, str]) -> Caller:
        """Who it is that has this client id, if any, and these own provider keys."""
        if client_id and not keys:
            return _client(client_id)
        if client_id:
            names = {_name("client", client_id)}
        elif self.config.open_to_all:
            names = {"anyone"}
        else:
            names = {_name(engine, key) for engine, key in keys.items()}
        trusted = bool(client_id) or self.config.open_to_all
        return Caller(trusted=trusted, names=frozenset(names), keys=keys)


@lru_cache(maxsize=256)
def _client(client_id: str) -> Caller:
    """Whoever shows a client id and no key of its own; the same for all its requests."""
    return Caller(trusted=True, names=frozenset({_name("client", client_id)}))


def _name(kind: str, secret: str) -> str:
    """The same in every process; what is stored of it is hashed again, with a salt."""
    return hashlib.blake2b(f"{kind}:{secret}".encode(), digest_size=16).hexdigest()
