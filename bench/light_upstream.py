"""A provider that costs next to nothing, for the time to the first token: ``python -m bench.light_upstream``.

Client, relay and provider share the machine, and its caches: what the provider does is in the time that is measured. So
this one knows one answer for each wire of ``upstream``, prepared as bytes, and sends it whatever it is asked, with a
blocking socket and a thread for each connection. The first delta leaves in a write of its own. The end follows at once,
or after a moment where the model is called ``pause``.
"""

from __future__ import annotations

import gc
import re
import socket
import sys
import threading
import time
from typing import Final, NamedTuple

from bench.upstream import STREAM, WIRES, Wire, chunk

_MOMENT: Final = 0.002  # seconds
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PAUSE: Final = b'pause"'
_PATH: Final = len(b"POST ")  # where it begins


class Answer(NamedTuple):
    """What is sent, one write after the other."""

    start: bytes
    delta: bytes
    end: bytes


def _answer(wire: Wire) -> Answer:
    return Answer(STREAM + chunk(wire.first), chunk(wire.deltas[0]), chunk(wire.last) + b"0\r\n\r\n")


_ANSWERS: Final = {path: _answer(wire) for path, wire in WIRES.items()}


def _serve(connection: socket.socket) -> None:
    """Requests one after the other, none larger than the buffer, until the client is gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = bytearray(65536)
    room = memoryview(received)
    with connection:
        while size := _receive(connection, received, room):
            start, delta, end = _ANSWERS[bytes(received[_PATH : received.index(b" ", _PATH)])]
            connection.sendall(start)
            connection.sendall(delta)
            if received.find(_PAUSE, 0, size) >= 0:
                time.sleep(_MOMENT)
            connection.sendall(end)


def _receive(connection: socket.socket, received: bytearray, room: memoryview) -> int:
    """How many bytes a whole request has; none where the client left."""
    size, whole = 0, 0
    while not whole or size < whole:
        got = connection.recv_into(room[size:])
        if not got:
            return 0
        size += got
        if not whole and (head := received.find(b"\r\n\r\n", 0, size)) >= 0:
            length = _LENGTH.search(received, 0, head)
            whole = head + 4 + (int(length[1]) if length else 0)
    return size


def _listen(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=[connection], daemon=True).start()


def main() -> None:
    gc.disable()
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_listen, args=[server], daemon=True).start()
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()  # until whoever started us is gone


if __name__ == "__main__":
    main()
