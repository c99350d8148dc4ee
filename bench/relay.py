"""A bare Tornado relay, as anyone would write it first: ``python -m bench.relay URL PORT``. It parses nothing."""

from __future__ import annotations

import asyncio
import sys

from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler


class Relay(RequestHandler):
    def initialize(self, upstream: str) -> None:
        self.upstream = upstream

    async def post(self) -> None:
        waiting: list[asyncio.Future[None]] = []

        def received(chunk: bytes) -> None:
            self.write(chunk)
            waiting.append(asyncio.ensure_future(self.flush()))

        headers = {"Content-Type": "application/json"}
        await AsyncHTTPClient().fetch(
            self.upstream + self.request.path,
            method="POST",
            body=self.request.body,
            headers=headers,
            streaming_callback=received,
            request_timeout=0,
        )
        await asyncio.gather(*waiting)


async def main(upstream: str, port: int) -> None:
    AsyncHTTPClient.configure(None, max_clients=10_000)
    Application([(r"/.*", Relay, {"upstream": upstream})], log_function=lambda _: None).listen(
        port, "127.0.0.1", backlog=4096
    )
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
