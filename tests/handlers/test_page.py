"""The web page: three open files that load nothing from other origins and do not reveal the client id."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from llm.config.settings import Config
from server import format_banner
from tests.support.harness import CLIENT_ID, make_config, run_server
from tests.support.paths import ROOT

STATIC = ROOT / "handlers" / "ops" / "static"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
}


@pytest.mark.parametrize("path", FILES)
async def test_the_page_is_open_and_has_a_strict_policy(path: str) -> None:
    name, content_type = FILES[path]
    async with run_server(make_config()) as server:
        answer = await server.get(path, {})
        assert (answer.status, await answer.body()) == (200, (STATIC / name).read_bytes())
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


async def test_no_other_file_is_served() -> None:
    assert {path.name for path in STATIC.iterdir()} == {name for name, _ in FILES.values()}
    async with run_server(make_config()) as server:
        for path in (
            "/index.html",
            "/static/chat.js",
            "/handlers/static/chat.js",
            "/chat.js/",
            "/chatxjs",
            "/chat.js%00",
            "/../server.py",
            "/%2e%2e/server.py",
            "/..%2fpage.py",
            "/page.py",
            "/.env",
        ):
            assert (await server.get(path, {})).status == 404, path
        for method in ("POST", "PUT", "DELETE"):
            assert (await server.request(method, "/", headers={})).status == 405


class Page(HTMLParser):
    """Collects what a page refers to and what its policy forbids in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.ids: set[str] = set()
        self.labelled: set[str] = set()
        self.fields: set[str] = set()
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.refers += [given[name] for name in ("src", "href") if name in given]
        self.forbidden += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.forbidden.append(tag)
        if "id" in given:
            self.ids.add(given["id"])
        if tag in ("input", "select", "textarea"):
            self.fields.add(given.get("id", ""))
        if tag == "label":
            self.labelled.add(given["for"])


def test_the_page_keeps_its_own_policy_and_labels_its_fields() -> None:
    page = Page((STATIC / "index.html").read_text())
    assert sorted(page.refers) == ["chat.css", "chat.js", "data:,"]  # relative: the page may be served below a path
    assert not page.forbidden
    assert page.fields == page.labelled


def test_the_script_finds_what_it_looks_for_and_writes_text_only_as_text() -> None:
    script = (STATIC / "chat.js").read_text()
    page = Page((STATIC / "index.html").read_text())
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= page.ids
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)
    assert "://" not in script
    assert "localStorage" not in script and "document.cookie" not in script


def test_the_printed_link_has_only_a_generated_id_in_its_fragment() -> None:
    minted = Config.from_env({})
    [line] = [line for line in format_banner(minted, 3000) if line.startswith("web page: ")]
    assert line == f"web page: http://127.0.0.1:3000/#id={next(iter(minted.client_ids))}"
    configured = "\n".join(format_banner(make_config(), 3000))
    assert "web page: http://127.0.0.1:3000/\n" in configured
    assert CLIENT_ID not in configured


# --- the script as it runs, where there is a Node ---

NODE: Final = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="the page's script runs in node, which is not installed")
DELTAS: Final = 10_000
WORD: Final = "word "  # of ``DELTA`` characters in page.mjs


def shown(objects: list[dict[str, Any]], **scenario: Any) -> dict[str, Any]:
    """Returns what the page shows of an answer in the end, and the number of updates (``tests/handlers/page.mjs``)."""
    run = subprocess.run(
        [str(NODE), str(Path(__file__).parent / "page.mjs"), str(STATIC / "chat.js")],
        input=json.dumps({"objects": objects, "perRead": 10, **scenario}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    assert told["left"] == {"frames": 0, "timers": 0}  # nothing is due any more
    return told


def long_answer(kind: str) -> list[dict[str, Any]]:
    end = {"type": "content", "text": "", "done": True}
    return [*({"type": kind, "text": WORD, "done": False} for _ in range(DELTAS)), end]


def texts_of(told: dict[str, Any], kind: str) -> list[str]:
    """Returns the text nodes of the only answer."""
    [part] = told["answer"]["in"][1:]
    texts: list[str] = part["in"] if kind == "content" else part["in"][1]["in"]
    return texts


@needs_node
@pytest.mark.parametrize("kind", ["content", "reasoning"])
def test_a_long_answer_costs_one_change_and_one_layout_for_each_frame(kind: str) -> None:
    told = shown(long_answer(kind), perFrame=10)
    assert texts_of(told, kind) == [WORD * DELTAS]
    assert told["frames"] == DELTAS / 100
    assert told["layouts"] <= told["frames"] + 10
    assert told["changes"] <= told["frames"] + 20
    assert told["longest_wait"] <= 100
    assert told["atEnd"]


@needs_node
@pytest.mark.parametrize("kind", ["content", "reasoning"])
def test_a_hidden_page_draws_no_frame_and_keeps_up_by_the_clock(kind: str) -> None:
    told = shown(long_answer(kind), tick=50)
    assert texts_of(told, kind) == [WORD * DELTAS]
    assert told["frames"] == 0
    assert told["layouts"] <= 60  # in 50 seconds
    assert told["longest_wait"] <= 250


@needs_node
@pytest.mark.parametrize("kind", ["content", "reasoning"])
def test_the_text_is_whole_at_the_end_if_neither_a_frame_nor_a_timer_came(kind: str) -> None:
    told = shown(long_answer(kind), tick=0)
    assert texts_of(told, kind) == [WORD * DELTAS]
    assert told["changes"] <= 20


@needs_node
def test_the_end_is_followed_unless_the_reader_has_scrolled_away() -> None:
    assert shown(long_answer("content"), perFrame=10)["atEnd"]
    away = shown(long_answer("content"), perFrame=10, scrollTo=0)
    assert (away["scrollTop"], away["atEnd"]) == (0, False)


CALL: Final = {"id": "c1", "name": "search", "call": {"q": "x"}}
MIXED: Final[list[dict[str, Any]]] = [
    {"type": "reasoning", "text": "Let me "},
    {"type": "reasoning", "text": "think."},
    {"type": "content", "text": "I ", "done": False},
    {"type": "content", "text": "look.", "done": False},
    {"type": "tool", "state": "call", **CALL},
    {"type": "tool", "state": "done", **CALL},
    {"type": "content", "text": "Found", "done": False},
    {"type": "content", "text": " it.", "done": False},
    {"type": "citation", "url": "https://a.example/", "title": "A"},
    {"type": "content", "text": "So.", "done": False},
    {"type": "content", "text": "", "done": True},
    {"type": "usage", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
]


@needs_node
@pytest.mark.parametrize("pace", [{"perRead": 1, "perFrame": 1}, {"perRead": 3, "perFrame": 2}, {"perRead": 100}])
def test_all_parts_of_an_answer_are_shown_in_their_order_whatever_comes_in_one_frame(pace: dict[str, int]) -> None:
    answer = shown(MIXED, **pace)["answer"]
    assert [(part["tag"], part.get("name", "")) for part in answer["in"]] == [
        ("h2", ""), ("details", ""), ("div", "text"), ("details", ""), ("div", "text"), ("p", "note"), ("div", "text"),
        ("p", "note"),
    ]  # fmt: skip
    _, thought, first, tool, second, source, third, usage = answer["in"]
    assert thought["in"][1]["in"] == ["Let me think."]
    assert [part["in"] for part in (first, second, third)] == [["I look."], ["Found it."], ["So."]]
    assert tool["in"][0]["in"] == ["search: done"]
    assert source["in"][1]["in"] == ["A"] and usage["in"] == ["1 tokens in, 2 out"]


@needs_node
@pytest.mark.parametrize("pace", [{"perRead": 1, "perFrame": 1}, {"perRead": 100}])
@pytest.mark.parametrize(
    ("last", "breaks", "reason"),
    [
        ([], False, "The answer is incomplete: the connection was closed."),
        ([], True, "network error"),
        ([{"type": "error", "error": "It is too much.", "code": "rate_limited"}], False, "It is too much."),
        ([{"type": "error", "error": "It is too much.", "code": "rate_limited"}], True, "It is too much."),
    ],
)
def test_what_came_before_an_error_is_shown_before_it(
    pace: dict[str, int], last: list[dict[str, Any]], breaks: bool, reason: str
) -> None:
    begun = [{"type": "content", "text": text, "done": False} for text in ("Once ", "upon")]
    _, text, error = shown([*begun, *last], breaks=breaks, **pace)["answer"]["in"]
    assert text["in"] == ["Once upon"]
    assert error == {"tag": "p", "name": "error", "role": "alert", "in": [reason]}


@needs_node
@pytest.mark.parametrize("pace", [{"perRead": 1, "perFrame": 1}, {"perRead": 100}])
def test_a_picture_as_the_answer_is_shown_and_other_media_are_named(pace: dict[str, int]) -> None:
    def attached(**fields: str) -> dict[str, Any]:
        return {"type": "attachment", "attachment": fields, "done": False}

    objects = [
        {"type": "content", "text": "Here:", "done": False},
        attached(mimeType="image/png", contents="iVBO"),
        attached(mimeType="image/png", url="https://e.example/a.png"),
        attached(mimeType="audio/wav", contents="UklG"),
        attached(mimeType="image/svg+xml", contents="PHN2"),
        {"type": "content", "text": "", "done": True, "finishReason": "stop"},
    ]
    _, text, picture, link, sound, drawing = shown(objects, **pace)["answer"]["in"]
    assert text["in"] == ["Here:"] and picture["tag"] == "img"
    assert picture["src"] == "data:image/png;base64,iVBO"
    assert link["in"][1]["in"] == ["https://e.example/a.png"]
    assert "audio/wav" in sound["in"][0] and "image/svg+xml" in drawing["in"][0]


@needs_node
@pytest.mark.parametrize("pace", [{"perRead": 1, "perFrame": 1}, {"perRead": 100}])
def test_an_answer_that_was_blocked_or_cut_says_why(pace: dict[str, int]) -> None:
    details = {"reason": "MODEL_ARMOR", "explanation": "Because X."}
    begun = {"type": "content", "text": "Half", "done": False}
    end = {"type": "content", "text": "", "done": True}
    ends: dict[str, dict[str, Any]] = {
        "The answer ended early: content_filter (MODEL_ARMOR: Because X.)": {
            "finishReason": "content_filter",
            "finishDetails": details,
        },
        "The answer ended early: length": {"finishReason": "length"},
    }
    for words, fields in ends.items():
        _, text, note = shown([begun, {**end, **fields}], **pace)["answer"]["in"]
        assert (text["in"], note["in"], note["name"]) == (["Half"], [words], "note")
    assert len(shown([begun, {**end, "finishReason": "stop"}], **pace)["answer"]["in"]) == 2
