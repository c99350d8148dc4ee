"""``/thread``: conversations that this server stores for their owners."""

from __future__ import annotations

from typing import Any, Final

from handlers.base import BaseHandler
from llm.dialects import native
from llm.errors import InvalidRequest
from llm.storage.threads import ThreadInfo
from llm.wire.json_codec import Json

PAGE_SIZE: Final = 100  # threads in an answer without ``limit``
MAX_PAGE_SIZE: Final = 1000  # largest ``limit``
MAX_TITLE_LENGTH: Final = 500  # characters


class ThreadsHandler(BaseHandler):
    """``GET /thread`` lists the caller's threads, ``PUT /thread`` creates one."""

    methods = ("GET", "PUT")

    async def handle(self, body: dict[str, Any]) -> None:
        owner, threads = self.caller.make_thread_owner(), self.context.threads
        if self.request.method == "PUT":
            info = await threads.create(owner, _read_title(body, required=False))
            self.write_json({"id": info.id})
            return
        limit = self.get_query_argument("limit", str(PAGE_SIZE))
        if not limit.isascii() or not limit.isdecimal() or not 0 < int(limit[:9]) <= MAX_PAGE_SIZE:
            raise InvalidRequest(f"limit: has to be a number from 1 to {MAX_PAGE_SIZE}", param="limit")
        after = self.get_query_argument("after", None)
        page = await threads.list_page(owner, int(limit), after)
        self.write_json({"threads": [_write(info) for info in page]})


class ThreadHandler(BaseHandler):
    """``GET /thread/<id>`` returns the messages; ``PATCH`` changes the title, ``DELETE`` deletes the thread."""

    methods = ("GET", "PATCH", "DELETE")

    async def handle(self, body: dict[str, Any]) -> None:
        id, owner, threads = self.path_args[0], self.caller.make_thread_owner(), self.context.threads
        if self.request.method == "GET":
            self.write_json(native.write_thread(await threads.read_messages(id, owner)))
        elif self.request.method == "PATCH":
            self.write_json(_write(await threads.rename(id, owner, _read_title(body, required=True))))
        else:
            await threads.delete(id, owner)
            self.set_status(204)


def _read_title(body: dict[str, Any], *, required: bool) -> str:
    title = body.get("title")
    if title is None and not required:
        return ""
    if not isinstance(title, str) or len(title) > MAX_TITLE_LENGTH:
        raise InvalidRequest(f"title: has to be text of at most {MAX_TITLE_LENGTH} characters", param="title")
    try:
        title.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("title: contains an unpaired surrogate, which is not a character", param="title") from None
    return title


def _write(info: ThreadInfo) -> Json:
    return {
        "id": info.id,
        "title": info.title,
        "created": round(info.created, 3),
        "updated": round(info.updated, 3),
        "messages": info.message_count,
    }
