"""What the handlers are given: configuration and services, made once at start."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from handlers.limits import Answers, KeptBodies
from handlers.peers import Peers
from handlers.running import Running
from handlers.validation import Schemas
from llm.catalog import Caller, Catalog
from llm.config import Config
from llm.exchange import Services
from llm.images import ImageStore
from llm.memo import Memo
from llm.threads import Threads
from llm.tools import Tools
from llm.tools.fetching import Fetcher


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
    threads: Threads
    peers: Peers
    answers: Answers
    kept_bodies: KeptBodies
    memo: Memo

    def knows(self, client_id: str) -> bool:
        """Whether this is one of the authorized ids; takes the same time for every wrong one."""
        if self.config.open_to_all:
            return True
        given = client_id.encode()
        found = False
        for known in self.config.client_ids:
            found |= hmac.compare_digest(given, known.encode())
        return found

    def trusts(self, offered: Iterable[str]) -> bool:
        """Whether one of these is a client id, or none is needed."""
        return self.config.open_to_all or any(self.knows(client_id) for client_id in offered if client_id)

    def caller(self, offered: list[str], keys: dict[str, str]) -> Caller:
        """Who it is that offers these ids and own provider keys."""
        valid = [client_id for client_id in offered if client_id and self.knows(client_id)]
        if valid and not keys:
            return _client(valid[0])
        trusted = bool(valid) or self.config.open_to_all
        names = {_name("client", client_id) for client_id in valid[:1]}
        if self.config.open_to_all and not names:
            names = {"anyone"}
        if not trusted:
            names = {_name(engine, key) for engine, key in keys.items()}
        return Caller(trusted=trusted, names=frozenset(names), keys=keys)


@lru_cache(maxsize=256)
def _client(client_id: str) -> Caller:
    """Whoever shows a client id and no key of its own; the same for all its requests."""
    return Caller(trusted=True, names=frozenset({_name("client", client_id)}))


def _name(kind: str, secret: str) -> str:
    """The same in every process; what is stored of it is hashed again, with a salt."""
    return hashlib.blake2b(f"{kind}:{secret}".encode(), digest_size=16).hexdigest()
