"""``python server.py``: reads the configuration, listens, serves until SIGTERM, drains."""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from tornado.netutil import bind_sockets

from handlers import make_app
from handlers.context import Context
from handlers.request.active import ActiveRequests
from handlers.request.active_peers import Peers
from handlers.request.idempotency import RepeatedRequests
from handlers.request.limits import BodyBudget, ConcurrencyLimit
from handlers.server.listener import Listener
from handlers.server.workers import Worker, Workers
from llm import VERSION, log
from llm.config.engines import variable_name
from llm.config.memory_check import check_memory, read_memory_limit
from llm.config.parsers import ConfigError
from llm.config.settings import Config
from llm.errors import LLMError
from llm.gateway.callers import Caller
from llm.gateway.catalog import Catalog
from llm.gateway.chat import ChatService
from llm.gateway.engine_files import EngineFiles
from llm.gateway.responses.keeper import ResponseKeeper
from llm.gateway.signature_cache import MAX_AGE, MAX_SIZE, SignatureCache
from llm.gateway.tool_loop import ToolLimits
from llm.http1.event_loop import new_loop, uvloop
from llm.http1.watchdog import Watchdog
from llm.integrity import hash_files
from llm.log import Redactor
from llm.storage.images import ImageStore
from llm.storage.sqlite.answers import SqliteAnswers
from llm.storage.sqlite.engine_files import SqliteEngineFiles
from llm.storage.sqlite.responses import SqliteResponses
from llm.storage.sqlite.signatures import SqliteSignatures
from llm.storage.sqlite.threads import SqliteThreads
from llm.tools.base import Tools
from llm.tools.registry import make_fetcher, make_tools
from llm.transport.demo.transport import DemoTransport
from llm.transport.http_client import HttpTransport
from llm.transport.interface import Transport
from llm.upstream.engine_client import EngineClient
from llm.upstream.retry import RetryPolicy
from llm.wire.json_codec import orjson

_BACKLOG: Final = 1024
_PORTS_TO_TRY: Final = 50  # ports after the default one that are tried when PORT is not set
_MANY_FILES: Final = 10240  # OPEN_MAX of macOS, which may refuse a larger number and RLIM_INFINITY
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# Name and version of each installed accelerator.
ACCELERATORS: Final = tuple(f"{module.__name__} {module.__version__}" for module in (uvloop, orjson) if module)
T = TypeVar("T")


def make_context(
    config: Config, worker: Worker | None = None, tools: Tools | None = None, **transports: Transport
) -> Context:
    """Creates everything the handlers need. ``tools``, and ``transports`` by URL scheme, replace the real ones."""
    services = _make_engine_client(config, transports)
    running = ActiveRequests(config.keepalive_interval)
    images = ImageStore(Path(config.data_dir) / "images", config.image_max_age, config.image_max_size)
    fetcher = make_fetcher(config)
    catalog = Catalog(config, services)
    tools = make_tools(config, services, fetcher, images) if tools is None else tools
    threads = SqliteThreads(Path(config.data_dir), config.thread_max_size)
    responses = SqliteResponses(Path(config.data_dir), config.responses_max_age, config.responses_max_size)
    files = SqliteEngineFiles(Path(config.data_dir), config.files_max_age, config.files_max_count)
    memo = SignatureCache(SqliteSignatures(Path(config.data_dir), MAX_AGE, MAX_SIZE) if worker else None)
    kept = config.idempotency_max_age, config.idempotency_max_size
    limits = ToolLimits(config.max_tool_rounds, config.tool_timeout, config.max_tool_tokens, config.max_tool_time)
    return Context(
        config=config,
        client=services,
        catalog=catalog,
        chat=ChatService(catalog, services, memo, threads, tools, limits, check_grammar=config.check_grammar),
        active=running,
        images=images,
        fetcher=fetcher,
        tools=tools,
        threads=threads,
        peers=Peers(running, worker),
        concurrency=ConcurrencyLimit(config.max_answers),
        body_budget=BodyBudget(config.max_kept_bodies),
        upload_budget=BodyBudget(config.max_kept_uploads),
        files=EngineFiles(files, catalog),
        signatures=memo,
        responses=ResponseKeeper(responses, catalog, services.memory),
        repeated=RepeatedRequests(SqliteAnswers(Path(config.data_dir), *kept), *kept),
    )


def _make_engine_client(config: Config, transports: Mapping[str, Transport]) -> EngineClient:
    http = HttpTransport(
        connect_timeout=config.connect_timeout,
        first_byte_timeout=config.first_byte_timeout,
        idle_timeout=config.idle_timeout,
        proxies=config.proxies,
    )
    demo = DemoTransport(idle_timeout=config.idle_timeout)
    retry = RetryPolicy(config.max_retries, config.max_retry_wait)
    by_scheme: dict[str, Transport] = {"http": http, "https": http, "demo": demo, **transports}
    return EngineClient(by_scheme, retry, config.max_answer_size, config.max_continuations)


class Server:
    """The listening server of one process."""

    def __init__(self, context: Context) -> None:
        self.context, config = context, context.config
        self.listener = Listener(
            make_app(context),
            header_timeout=config.header_timeout,
            body_timeout=config.body_timeout,
            client_timeout=config.client_timeout,
            max_header_size=config.max_header_size,
            max_connections=config.max_connections,
        )

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Deletes expired images and starts to accept connections."""
        try:
            self.context.images.prune()
        except OSError as error:  # not fatal: chats need no disk
            log.write("images", 40, problem=f"{error.filename}: {error.strerror}")
        self.context.peers.open()
        self.listener.start(sockets)

    def stop_worker(self, stop: asyncio.Event) -> None:
        """Stops this worker only: the others accept all new connections, so no request is refused."""
        self.listener.stop()
        stop.set()

    async def stop(self) -> None:
        """Answers new requests with 503 until the running answers have ended, then closes everything."""
        await self.context.active.drain(self.context.config.drain_timeout)
        await self.listener.close()
        await self.context.close()


def listen(config: Config) -> list[socket.socket]:
    """Binds the port. If PORT is not set, takes the next free port. Raises ``OSError`` if it cannot."""
    last = config.port if config.port_chosen else min(config.port + _PORTS_TO_TRY, 65535)
    for port in range(config.port, last + 1):
        bound: list[socket.socket] = []
        try:
            for host in _list_hosts(config.host):
                bound += bind_sockets(port, host, backlog=_BACKLOG)
                port = bound[0].getsockname()[1]  # of all addresses, where PORT=0 lets the system choose
            return bound
        except OSError as error:
            for sock in bound:
                sock.close()
            if error.errno != errno.EADDRINUSE or port == last:
                raise
    raise AssertionError("unreachable")


def _list_hosts(value: str) -> list[str]:
    """Returns the addresses of ``HOST``; ``::`` means every address of both families."""
    hosts = [host.strip() for host in value.split(",") if host.strip()]
    return list(dict.fromkeys(each for host in hosts for each in (("0.0.0.0", "::") if host == "::" else (host,))))  # noqa: S104


def format_banner(config: Config, port: int) -> list[str]:
    """Returns the lines printed at start: address, engines, warnings, examples. They contain no key."""
    host = _list_hosts(config.host)[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104  compared
    url = f"http://{host}:{port}"
    catalog = Catalog(config, EngineClient({}))
    engines = catalog.list_engines(Caller(trusted=True))
    example = next((engine for engine in reversed(engines) if engine.example_model), None)
    lines = [f"llm-server {VERSION} at {url}", f"engines: {', '.join(engine.label for engine in engines) or 'none'}"]
    if ACCELERATORS:
        lines.append(f"faster with {' and '.join(ACCELERATORS)}")
    lines += [f"warning: {warning}" for warning in config.warnings]
    if not config.port_chosen and port != config.port:
        lines.append(f"port {config.port} is taken, so {port} is used")
    generated_id = next(iter(config.client_ids)) if config.client_id_generated else ""
    lines.append(f"web page: {url}/{f'#id={generated_id}' if generated_id else ''}")
    if config.open_to_all:
        lines.append("warning: AUTHORIZED_CLIENT_ID=* lets anyone who reaches this address spend your keys")
        header = ""
    elif generated_id:
        header = f" -H 'X-ClientId: {generated_id}'"
    else:
        header = ' -H "X-ClientId: $AUTHORIZED_CLIENT_ID"'
    if example is not None:
        body = f'{{"engine": "{example.name}", "model": "{example.example_model}", "prompt": "Hello!"}}'
        lines.append(f"try: curl -N {url}/llm/chat{header} -H 'Content-Type: application/json' -d '{body}'")
    else:
        lines.append(f"try: curl {url}/llm/engines{header}")
    lines.append(f"OpenAI clients: base URL {url}/v1, the client id as API key, model as engine/model")
    lines.append(f"Anthropic clients: base URL {url}, the client id as API key, model as engine/model")
    return lines


def _freeze_objects() -> None:
    """Excludes all objects created so far from garbage collection, which would delay every stream.

    The collector's frequency stays Python's default. An answer that fails leaves a reference cycle of its error and
    stack frames: with fewer collections these took ten megabytes.
    """
    gc.collect()
    gc.freeze()


async def serve(
    config: Config, sockets: Sequence[socket.socket], ready: Callable[[], None], worker: Worker | None = None
) -> None:
    """Serves until a signal (or, in a worker, the end of the parent's pipe), then drains.

    ``ready`` is called when connections are accepted.
    """
    server = Server(make_context(config, worker))
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    if worker is None:
        for signum in _SIGNALS:
            loop.add_signal_handler(signum, stop.set)
    else:
        loop.add_reader(worker.parent, stop.set)
        loop.add_signal_handler(signal.SIGTERM, server.stop_worker, stop)
    server.start(sockets)
    watchdog = Watchdog()
    watchdog.start()
    _freeze_objects()
    ready()
    await stop.wait()
    watchdog.stop()
    if worker is None:
        for signum in _SIGNALS:  # a second signal ends the process at once
            loop.remove_signal_handler(signum)
            signal.signal(signum, signal.SIG_DFL)
    else:
        loop.remove_reader(worker.parent)
    await server.stop()


async def check_engines(config: Config) -> int:
    """Asks each configured engine for what is free, its model list above all. Returns 1 if one fails, else 0."""
    context = make_context(config)
    owner = Caller(trusted=True)
    engines = context.catalog.list_engines(owner)
    lines = [f"{warning}" for warning in config.warnings]
    results = await asyncio.gather(
        *(context.catalog.check_engine(e.name, owner) for e in engines), return_exceptions=True
    )
    faults = 0
    for engine, result in zip(engines, results, strict=True):
        if isinstance(result, str):
            lines.append(f"{engine.name}: {result}")
        elif isinstance(result, LLMError):
            faults += 1
            lines.append(f"{engine.name}: {result.code}: {result.message}")
        else:
            raise result
    for name in sorted(set(config.keys) - {engine.name for engine in engines}):
        faults += 1
        missing = variable_name(name, "ENABLED" if config.engines[name].local else "BASE_URL")
        lines.append(f"{name}: has a key but cannot be used: {missing} is missing")
    _print_lines([Redactor(config.secrets)(line) for line in lines])
    context.catalog.close()
    for transport in context.client.transports.values():
        await transport.close()
    return 1 if faults else 0


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


def _print_lines(lines: Sequence[str]) -> None:
    try:
        print("\n".join(lines), flush=True)
    except OSError:  # a full disk or a closed pipe: discards this and later output, also what Python flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_file_limit() -> None:
    """Raises the limit of open files as far as allowed (a stream takes two). Logs a warning if that fails."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return
    wanted = _MANY_FILES if most == resource.RLIM_INFINITY else most
    problem = ""
    for number in dict.fromkeys((wanted, min(wanted, _MANY_FILES))):
        if number <= files:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, most))
        except (ValueError, OSError) as error:
            problem = str(error)
        else:
            files = number
            break
    if problem:
        log.write("open_files", logging.WARNING, limit=files, wanted=wanted, problem=problem)


def _parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="server.py", description="One small server in front of every LLM provider.")
    parser.add_argument("--host", help="address to listen on (HOST)")
    parser.add_argument("--port", help="port to listen on (PORT)")
    parser.add_argument("--processes", help="worker processes, 0: one per core (PROCESSES)")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="file of settings (default .env)")
    parser.add_argument("--check", action="store_true", help="check whether each engine answers, and exit")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument(
        "--verify", action="store_true", help="print the version and the SHA-256 of each file, and exit"
    )
    return parser.parse_args(argv)


def _read_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    options = {"HOST": arguments.host, "PORT": arguments.port, "PROCESSES": arguments.processes}
    overrides = {name: value for name, value in options.items() if value is not None}
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # read by OpenSSL, to which a missing one is an empty one
        if environ.get(name) and not os.access(environ[name], os.R_OK):
            raise ConfigError(name, f"{environ[name]} cannot be read")
    return Config.from_env({**environ, **overrides}, _read_env_file(arguments.env_file))


def _read_env_file(path: Path) -> Mapping[str, str | None]:
    """Reads a file of settings. A server that is configured by its environment alone does without ``dotenv``'s 1 MB."""
    try:
        if not path.exists():
            return {}
        from dotenv import dotenv_values

        return dotenv_values(path)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(str(path), str(reason)) from None


def main(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit code: 2 for a wrong configuration, 1 for another failure."""
    arguments = _parse_arguments(argv)
    if arguments.version or arguments.verify:
        _print_lines([", ".join((f"llm-server {VERSION}", *ACCELERATORS)), *(hash_files() if arguments.verify else ())])
        return 0
    try:
        config = _read_config(arguments, os.environ)
    except ConfigError as error:
        print(f"configuration error: {error}", file=sys.stderr)
        return 2
    config = replace(config, warnings=(*config.warnings, *check_memory(config, read_memory_limit())))
    if arguments.check:
        return _run(check_engines(config))
    try:
        sockets = listen(config)
    except OSError as error:
        print(f"cannot listen on {config.host} port {config.port}: {error.strerror}", file=sys.stderr)
        return 1
    log.setup(config.secrets)
    _raise_file_limit()
    port = sockets[0].getsockname()[1]
    lines = format_banner(config, port)
    processes = config.processes or os.cpu_count() or 1
    if processes == 1:
        _run(serve(config, sockets, ready=lambda: _print_lines(lines)))
        return 0
    _print_lines(lines)

    def work(worker: Worker) -> None:
        _run(serve(config, sockets, lambda: None, worker))

    return Workers(processes, sockets, work).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
