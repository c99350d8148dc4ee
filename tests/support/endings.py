"""The type of a function that ends a connection."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.wire_server import Wire

Ending = Callable[[Wire], None]
