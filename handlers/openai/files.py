"""Files, uploads and batches of OpenAI's and Anthropic's APIs: passed on to an engine of the client's dialect.

Ids carry their engine (``openai~file-1``); an object is seen by the client that made it, and by no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from handlers.context import Context
from handlers.media import UploadHandler
from handlers.request.forwarding import forward, select_query
from handlers.request.spool import Spool, iterate_lines
from llm.dialects import anthropic, openai_chat
from llm.dialects.base import ClientDialect, EngineRequest
from llm.engines.engine import Target
from llm.errors import InvalidRequest, Malformed
from llm.gateway.engine_files import HEADER
from llm.http1.threads import run_in_thread
from llm.tasks.engine_ids import BatchLines, read_line_engine, split_id, strip_models
from llm.upstream.attempts import request_json
from llm.upstream.engine_client import encode_in_steps
from llm.upstream.tasks import ResponseInfo, stream_body
from llm.wire.json_codec import quote_url_part

_CURSORS: Final = ("after", "before", "after_id", "before_id")  # arguments of lists that hold an id
_MOST_PAGES: Final = 20  # of an engine's list that are read for one page of the caller's own
_PURPOSE: Final = "batch"


class EngineFilesHandler(UploadHandler):
    """One path of these APIs. ``dialect``: None if ``anthropic-version`` decides."""

    dialect: ClientDialect = openai_chat
    counts_as_answer = False  # the engine answers no model's request
    has_costs = True

    def initialize(
        self,
        context: Context,
        path: str = "",
        api: str = "files",
        dialect: ClientDialect | None = None,
        streams: bool = False,
    ) -> None:
        """``path``: at the engine, with places for id and path of files. ``streams``: the answer is no JSON object."""
        super().initialize(context)
        by_version = anthropic if "anthropic-version" in self.request.headers else openai_chat
        self.dialect = by_version if dialect is None else dialect
        self._path, self._api, self._streams = path, api, streams

    async def answer(self, body: dict[str, Any]) -> None:
        """Passes the request on, if all its ids are the caller's."""
        files, spool = self.context.files, None
        if self.path_args:
            target, id = await files.resolve_id(self.path_args[0], self.caller, self.dialect.NAME)
        else:
            target, id = await self._choose_engine(body), ""
        self.log_fields["engine"] = target.engine.name
        try:
            if self.request.method == "POST":
                outgoing, spool = await self._write_request(body, target, id)
            else:
                outgoing = EngineRequest(path=self._make_path(id), method=self._read_method())
            query = await self._write_query(target)
            outgoing = forward(outgoing, self.request, self.dialect, target, self.record, query)
            if self._streams:
                info = ResponseInfo()
                await self.stream_answer(stream_body(outgoing, target, self.context.client, self.record, info), info)
                return
            wire = await request_json(outgoing, _read_object, target, self.context.client, self.record)
        finally:
            if spool is not None:
                spool.close()
        if isinstance(wire.get("data"), list) and not id:
            wire = await self._select_own(wire, outgoing, target)
        else:
            wire = await files.publish(wire, self.caller, target.engine.name)
        if self.request.method == "DELETE":
            await files.forget(id, self.caller, target.engine.name)
        self.set_record_headers(self.record)
        self.write_json(self._with_own_url(wire))

    def _read_method(self) -> Any:
        return "GET" if self.request.method == "HEAD" else self.request.method

    def _make_path(self, id: str) -> str:
        files = "/v1/files" if self.dialect is anthropic else "/files"
        return self._path.format(files=files, id=quote_url_part(id))

    async def _choose_engine(self, body: dict[str, Any]) -> Target:
        """Returns the engine by the header, an id of the request, or the model of the first line or request."""
        engines = self.context.config.engines
        name = self.request.headers.get(HEADER, "").strip().lower() or None
        cursors = [split_id(self.get_query_argument(one, "")) for one in _CURSORS] if self.request.query else []
        found = next((one for one in (*cursors, split_id(body.get("input_file_id"))) if one is not None), None)
        if name is None and found is not None:
            name = found.engine
        if name is None and "requests" in body:
            _, name = await self._run(strip_models, body["requests"], engines)
        if name is None and self.form is not None and (file := self.form.read_file("file")) is not None:
            first = next(iterate_lines(file), b"")
            name = read_line_engine(first) if body.get("purpose") == _PURPOSE else None
        return self.context.files.choose_engine(self._api, self.dialect.NAME, name, self.caller)

    async def _write_request(self, body: dict[str, Any], target: Target, id: str) -> tuple[EngineRequest, Spool | None]:
        """Returns the request with bare models and ids, and the file of the lines that were changed."""
        path, engine = self._make_path(id), target.engine.name
        if self.form is None:
            if "requests" in body:
                changed, named = await self._run(strip_models, body["requests"], self.context.config.engines)
                if named not in (None, engine):
                    raise InvalidRequest(f"requests: name models of {named}, and {engine} is asked.", param="requests")
                body = {**body, "requests": changed}
            body = await self.context.files.restore_ids(body, engine, self.caller, heavy=self.body.heavy)
            outgoing = EngineRequest(path=path, body=body) if body else EngineRequest(path=path, raw=b"")
            return await self._run(encode_in_steps, outgoing) if self.body.heavy else outgoing, None
        file = self.form.read_file("file")
        if file is None or body.get("purpose") != _PURPOSE:
            return self.write_form(path, {}), None
        lines = BatchLines(engine, frozenset(self.context.config.engines))
        spool = Spool(self.context.config.data_dir)
        try:
            await asyncio.to_thread(_write_lines, file, lines, spool)
            await self.context.files.check(self.caller, engine, lines.ids)
            return self.write_form(path, {"file": spool.view()}), spool
        except BaseException:
            spool.close()
            raise

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what ``work`` returns; for a heavy request it runs in a thread."""
        return await run_in_thread(work, *arguments) if self.body.heavy else work(*arguments)

    async def _write_query(self, target: Target) -> str:
        """Returns the query with ids as the engine knows them."""
        pairs = []
        for pair in select_query(self.request.query).split("&"):
            name, _, value = pair.partition("=")
            found = split_id(unquote(value)) if name in _CURSORS else None
            if found is not None:
                await self.context.files.resolve_id(unquote(value), self.caller, self.dialect.NAME)
                pair = f"{name}={quote_url_part(found.id)}"
            if pair:
                pairs.append(pair)
        return "&".join(pairs)

    async def _select_own(self, wire: dict[str, Any], outgoing: EngineRequest, target: Target) -> dict[str, Any]:
        """Returns the caller's own entries of a list; goes on to the engine's next page while none of them is."""
        files, engine = self.context.files, target.engine.name
        cursor = "after_id" if self.dialect is anthropic else "after"
        own = await files.select_own(wire["data"], self.caller, engine)
        for _ in range(_MOST_PAGES):
            last = next((one["id"] for one in reversed(wire["data"]) if isinstance(one, dict) and "id" in one), None)
            if own or not wire.get("has_more") or not last:
                break
            path, _, query = outgoing.path.partition("?")
            rest = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in _CURSORS]
            following = "&".join([*rest, f"{cursor}={quote_url_part(str(last))}"])
            page = EngineRequest(path=f"{path}?{following}", method="GET", headers=outgoing.headers)
            wire = await request_json(page, _read_object, target, self.context.client, self.record)
            wire.setdefault("data", [])
            own = await files.select_own(wire["data"], self.caller, engine)
        ends = {name: own[place]["id"] if own else None for name, place in (("first_id", 0), ("last_id", -1))}
        return {**wire, **{name: id for name, id in ends.items() if name in wire}, "data": own}

    def _with_own_url(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Returns an object, or the objects of a list, with this server's address of its results."""
        for one in (wire, *(wire["data"] if isinstance(wire.get("data"), list) else ())):
            if isinstance(one, dict) and one.get("results_url"):
                proto = "https" if self.request.headers.get("X-Forwarded-Proto", "").lower() == "https" else "http"
                config = self.context.config
                host = self.request.headers.get("Host") or f"{config.host}:{config.port}"
                one["results_url"] = f"{proto}://{host}/v1/messages/batches/{quote_url_part(one['id'], '~')}/results"
        return wire


class ListHandler(EngineFilesHandler):
    """The path of all objects: lists them, and makes one."""

    methods = ("GET", "POST")


class ObjectHandler(EngineFilesHandler):
    """The path of an object: returns or deletes it."""

    methods = ("GET", "DELETE")


class ReadHandler(EngineFilesHandler):
    """A path that only returns something."""

    methods = ("GET",)


class ActionHandler(EngineFilesHandler):
    """A path that makes or changes something."""

    methods = ("POST",)


def _make_routes() -> Iterator[tuple[str, type[EngineFilesHandler], dict[str, Any]]]:
    one, own = "([^/]+)", {"dialect": openai_chat}
    yield "/v1/files", ListHandler, {"path": "{files}"}
    yield f"/v1/files/{one}", ObjectHandler, {"path": "{files}/{id}"}
    yield f"/v1/files/{one}/content", ReadHandler, {"path": "{files}/{id}/content", "streams": True}
    yield "/v1/uploads", ActionHandler, {"path": "/uploads", "api": "uploads", **own}
    for end in ("parts", "complete", "cancel"):
        yield f"/v1/uploads/{one}/{end}", ActionHandler, {"path": f"/uploads/{{id}}/{end}", "api": "uploads", **own}
    for path, dialect in (("/batches", openai_chat), ("/v1/messages/batches", anthropic)):
        url, more = f"/v1{path.removeprefix('/v1')}", {"api": "batches", "dialect": dialect}
        yield url, ListHandler, {"path": path, **more}
        kind = ObjectHandler if dialect is anthropic else ReadHandler
        yield f"{url}/{one}", kind, {"path": f"{path}/{{id}}", **more}
        yield f"{url}/{one}/cancel", ActionHandler, {"path": f"{path}/{{id}}/cancel", **more}
        if dialect is anthropic:
            yield f"{url}/{one}/results", ReadHandler, {"path": f"{path}/{{id}}/results", "streams": True, **more}


# Path (or pattern with groups), handler class and its arguments.
FILE_ROUTES: Final = tuple(_make_routes())


def _read_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("The engine answered with something other than an object.")
    return value


def _write_lines(file: memoryview, lines: BatchLines, spool: Spool) -> None:
    """Writes the lines one by one. For a thread."""
    for number, line in enumerate(iterate_lines(file), 1):
        spool.write(lines.write(line, number))
