"""The client whose time to the first token is measured: one connection, input and output as of ``bench.load``.

Whatever a client does while it waits is in the time that it measures, and in the caches of whom it measures. So this
one is a blocking socket and a clock: its request is prepared bytes, its answers are read into one buffer, and are
looked at after they came. They have to be as whole as those of ``bench.load``.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
from dataclasses import asdict
from typing import Final

from bench.load import OK, Job, Result, lacking, request_of

_END: Final = b"\r\n0\r\n\r\n"


class Client:
    def __init__(self, job: Job, server: socket.socket) -> None:
        self._job, self._server = job, server
        self._request = request_of(job)
        self._answer = bytearray(65536)
        self._room = memoryview(self._answer)

    def ask(self, result: Result) -> bool:
        """One request. Tells whether its answer was whole; if not, nothing more can be asked."""
        first, size, ended = self._wait()
        answer = bytes(self._room[:size])
        deltas = answer.count(b"~")
        if not answer.startswith(OK):
            error = f"not 200: {answer[:300]!r}"
        elif not ended:
            error = f"closed after {deltas} deltas"
        else:
            error = lacking(self._job, deltas, answer)
        if error:
            result.errors.append(error)
            return False
        result.first.append(first)
        result.answers += 1
        result.deltas += deltas
        return True

    def _wait(self) -> tuple[float, int, bool]:
        """Seconds to the first delta, bytes of the answer, and whether HTTP's own end was seen."""
        receive, answer, room = self._server.recv_into, self._answer, self._room
        first, size = 0.0, 0
        asked = time.perf_counter()
        self._server.sendall(self._request)
        while got := receive(room[size:]):
            now = time.perf_counter()
            if not first and answer.find(b"~", size, size + got) >= 0:
                first = now - asked
            size += got
            if not first and not answer.startswith(OK):
                break
            if answer.endswith(_END, 0, size):
                return first, size, True
        return first, size, False


def measure(job: Job) -> Result:
    result = Result()
    with socket.create_connection(("127.0.0.1", job.port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(job, server)
        for _ in range(job.requests):
            if not client.ask(result):
                break
            if job.pause:
                time.sleep(job.pause)
    return result


def main() -> None:
    gc.disable()
    print(json.dumps(asdict(measure(Job(**json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
