"""Receives the body of a request and decompresses it, within the limits of its size."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from handlers.request.limits import LARGE_SIZE, LARGE_SIZE_COUNTED, LIGHT_SIZE, BodyBudget, is_heavy, make_budget_error
from handlers.request.spool import Spool
from llm.errors import InvalidRequest, LLMError, Malformed, StorageFailed, TooLarge, UnsupportedEncoding
from llm.http1.compression import Decompressor, create_inflater, list_encodings

MAX_DISCARDED: Final = 4  # times MAX_BODY_SIZE that is read and discarded so that the client can read the refusal
_SLICE: Final = 64 * 1024  # compressed bytes that are given to the decompressor at a time
_HEADER: Final = "Content-Encoding"


class RequestBody:
    """The body of one request, kept in the pieces in which it arrives.

    ``limit``: bytes; a larger body is refused. ``discard_limit``: bytes of a refused body that are read. ``budget``:
    for a caller without a client id. ``spool``: keeps the body instead of memory; it is then read by :meth:`view`.
    """

    __slots__ = (
        "_budget",
        "_discard_limit",
        "_pieces",
        "_received",
        "_reserved",
        "_spool",
        "digest",
        "heavy",
        "limit",
        "refusal",
    )

    def __init__(self, limit: int, discard_limit: int, budget: BodyBudget | None, spool: Spool | None = None) -> None:
        self.limit, self._discard_limit = limit, discard_limit
        self._budget = budget
        self._spool = spool
        self._pieces: list[bytes] | None = []  # None: taken, or not kept
        self._received = 0
        self._reserved = 0  # bytes reserved in the budget
        self.heavy = False  # set by :meth:`weigh`
        self.digest: bytes | None = None  # of the body that was taken, if it was set to b"" before
        self.refusal: LLMError | None = None  # raised at the end of the body, which is read and discarded

    def receive(self, piece: bytes) -> bool:
        """Keeps a piece; discards it once the body is refused. Returns False if too much was discarded."""
        self._received += len(piece)
        if self.refusal is None:
            if self._received > self.limit:
                self.refusal = self.make_size_error()
            elif self._budget is not None and not self._budget.reserve(len(piece)):
                self.refusal = make_budget_error(uploads=self._spool is not None)
            else:
                if self._budget is not None:
                    self._reserved += len(piece)
                if self._spool is not None:
                    self._keep_on_disk(self._spool, piece)
                elif self._pieces is not None:
                    self._pieces.append(piece)
                return True
            self.release()  # the refusal is sent when the body ends
        return self._received <= self._discard_limit

    def _keep_on_disk(self, spool: Spool, piece: bytes) -> None:
        try:
            spool.write(piece)
        except OSError as error:
            self.refusal = StorageFailed(f"The upload cannot be kept on disk: {error.strerror}.")
            spool.close()
            self._spool = None

    def make_size_error(self) -> TooLarge:
        """Returns the error for a body above the limit."""
        setting = "MAX_BODY_SIZE" if self._spool is None else "MAX_UPLOAD_SIZE"
        return TooLarge(f"The body is larger than {self.limit} bytes ({setting}).")

    async def decompress(self, encoding: str) -> None:
        """Replaces the body by what it contains; lets other tasks run after each step, and stops at the limit.

        Raises ``LLMError``.
        """
        if self._spool is not None:
            raise UnsupportedEncoding(f"{_HEADER}: an upload may not be compressed.", param=_HEADER)
        raw = self.take()
        try:
            decompressor = create_inflater(encoding) if raw else None
        except Malformed:
            known = list_encodings()
            raise UnsupportedEncoding(
                f"{_HEADER}: {encoding[:40]!r} cannot be read here; send {', '.join(known)} or no compression.",
                param=_HEADER,
                headers={"Accept-Encoding": ", ".join(known)},
            ) from None
        if decompressor is None:
            self._pieces = [raw]
            return
        pieces: list[bytes] = []
        self._received = 0
        try:
            for at in range(0, len(raw), _SLICE):
                await self._decompress_slice(decompressor, raw[at : at + _SLICE], pieces)
            decompressor.close()
        except Malformed:
            raise InvalidRequest(f"body: is not valid {encoding.strip()[:40]} data", param=_HEADER) from None
        self._pieces = pieces

    async def _decompress_slice(self, decompressor: Decompressor, data: bytes, pieces: list[bytes]) -> None:
        """Adds what a slice contains to ``pieces``. Raises the refusal of the body."""
        while True:
            piece = decompressor.feed(data)
            self._received += len(piece)
            if self._received > self.limit:
                message = f"The body is larger than {self.limit} bytes (MAX_BODY_SIZE) when it is decompressed."
                self.refusal = TooLarge(message, param=_HEADER)
            elif self._budget is not None:
                if self._budget.reserve(len(piece)):
                    self._reserved += len(piece)
                else:
                    self.refusal = make_budget_error()
            await asyncio.sleep(0)
            if self.refusal is not None:  # also set when the client has left
                raise self.refusal
            pieces.append(piece)
            if not decompressor.pending:
                return
            data = b""

    def weigh(self) -> bool:
        """Sets ``heavy`` and returns it: the work on the body belongs into a thread, and one copy of it is kept."""
        large = LARGE_SIZE if self._budget is None else LARGE_SIZE_COUNTED
        self.heavy = self._received > large or (self._received > LIGHT_SIZE and is_heavy(self._pieces or ()))
        return self.heavy

    def view(self) -> memoryview:
        """Returns a body that is kept in a spool."""
        return memoryview(b"") if self._spool is None else self._spool.view()

    def take(self) -> bytes:
        """Returns the body, which is no longer kept here. Its bytes stay reserved until :meth:`release`."""
        if self._spool is not None:
            raw = bytes(self._spool.view())
        else:
            pieces, self._pieces = self._pieces, None
            raw = b"".join(pieces or ())
        if self.digest is not None:
            self.digest = hashlib.sha256(raw).digest()
        return raw

    def release(self) -> None:
        """Forgets the body, and returns what is reserved for it. May be called again."""
        if self._spool is not None:
            self._spool.close()
        self._pieces = self._spool = None
        if self._budget is not None and self._reserved:
            self._budget.release(self._reserved)
            self._reserved = 0
