"""Reads the tools of a request: the client's own, those that this wire defines and the client runs, and hosted ones.

A tool that the client runs is a function to engines of other wires, with the name that the client calls it by and the
parameters that the model of this wire is trained on. Sources: https://platform.claude.com/docs/en/agents-and-tools/tool-use
(pages bash, text editor, memory and computer use) and the types of anthropic 2.14.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm.chat.provider_metadata import ProviderMetadata, unknown_fields
from llm.chat.request import ToolSpec, WebKind, WebTool, read_domains, read_location
from llm.dialects.anthropic.shared import NAME, TYPED_TOOL, pack_wire_form
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_count, as_dict
from llm.wire.json_strict import Fields, invalid

WEB_TOOL_TYPES: Final[Mapping[WebKind, str]] = {"search": "web_search_20250305", "fetch": "web_fetch_20250910"}
_KNOWN: Final = ("type", "name", "description", "input_schema", "strict")
_WEB: Final = re.compile(r"web_(search|fetch)_\d{8}")
_WEB_SETTINGS: Final = ("type", "name", "allowed_domains", "blocked_domains", "user_location", "max_uses")
_TYPED: Final = re.compile(r"(bash|text_editor|memory|computer)_(\d{8})")
_OLD_EDITORS: Final = ("20241022", "20250124")  # these take back edits, and all but the newest insert ``new_str``
_NEWEST_EDITOR: Final = "20250728"
_WITHOUT_SCROLL: Final = "20241022"
_WITH_ZOOM: Final = "20251124"

_TEXT: Final[Json] = {"type": "string"}
_NUMBER: Final[Json] = {"type": "integer"}
_POINT: Final[Json] = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2, "description": "x, y in pixels"}
_RANGE: Final[Json] = {
    "type": "array",
    "items": _NUMBER,
    "minItems": 2,
    "maxItems": 2,
    "description": "For view: the first and the last line, from 1; -1 is the end of the file",
}


@dataclass(frozen=True, slots=True)
class _Typed:
    """A tool that this wire defines: what a model that was not trained on it has to be told."""

    description: str
    parameters: Mapping[str, Json]
    settings: tuple[str, ...] = ()  # fields of the tool that the description tells


def read_tool(wire: object, path: str) -> ToolSpec:
    """Reads one tool. Raises ``InvalidRequest``."""
    if not isinstance(wire, dict):
        raise invalid(path, "is not an object")
    fields = Fields(wire, path)
    kind = fields.read_text("type")
    if kind is not None and kind != "custom":
        name = fields.read_text("name") or kind
        typed = _find_typed(kind, wire)
        if typed is None:
            web = _read_web_tool(kind, name, wire)
            return ToolSpec(name, executor="provider", metadata=(ProviderMetadata(NAME, None, dict(wire)),), web=web)
        own = {name: value for name, value in wire.items() if name in ("type", "name", *typed.settings)}
        metadata = (*unknown_fields(wire, own, NAME, None), *pack_wire_form(**{TYPED_TOOL: own}))
        return ToolSpec(name, typed.description, typed.parameters, metadata=metadata)
    schema = fields.read_object("input_schema")
    return ToolSpec(
        name=fields.read_required_text("name"),
        description=fields.read_text("description") or "",
        parameters=schema.raw if schema else {},
        strict=fields.read_flag("strict"),
        metadata=unknown_fields(wire, _KNOWN, NAME, None),
        schema_dialect=NAME,
    )


def _read_web_tool(kind: str, name: str, wire: Mapping[str, Any]) -> WebTool | None:
    """Returns what a hosted tool for the web does; None for any other."""
    match = _WEB.fullmatch(kind)
    if match is None:
        return None
    return WebTool(
        kind="search" if match[1] == "search" else "fetch",
        named=name,
        allowed_domains=read_domains(wire.get("allowed_domains")),
        blocked_domains=read_domains(wire.get("blocked_domains")),
        user_location=read_location(as_dict(wire.get("user_location"))),
        max_uses=as_count(wire.get("max_uses")),
        others=tuple(name for name, value in wire.items() if name not in _WEB_SETTINGS and value is not None),
    )


def write_web_tool(web: WebTool) -> dict[str, Json]:
    """Writes a hosted tool for the web, in the version that all models have."""
    wire: dict[str, Json] = {"type": WEB_TOOL_TYPES[web.kind], "name": f"web_{web.kind}"}
    if web.allowed_domains:  # not both
        wire["allowed_domains"] = [*web.allowed_domains]
    elif web.blocked_domains:
        wire["blocked_domains"] = [*web.blocked_domains]
    if web.user_location and web.kind == "search":
        wire["user_location"] = {"type": "approximate", **web.user_location}
    if web.max_uses is not None:
        wire["max_uses"] = web.max_uses
    return wire


def _find_typed(kind: str, wire: Mapping[str, Any]) -> _Typed | None:
    """Returns the description of a tool that the client runs; None for any other."""
    match = _TYPED.fullmatch(kind)
    if match is None:
        return None
    family, version = match.groups()
    match family:
        case "bash":
            return _BASH
        case "text_editor":
            return _describe_editor(version, wire.get("max_characters"))
        case "memory":
            return _MEMORY
    return _describe_computer(version, wire)


def _make_schema(required: tuple[str, ...], **properties: Json) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": [*required]}


def _choose(*values: str) -> Json:
    return {"type": "string", "enum": [*values]}


def _tell(description: str, of: Json = _TEXT) -> Json:
    assert isinstance(of, dict)
    return {**of, "description": description}


_BASH: Final = _Typed(
    "Runs a command in a bash session, which keeps its state (working directory, variables) between calls.",
    _make_schema(
        (),
        command=_tell("The command to run; required unless the tool is restarted"),
        restart=_tell("True restarts the session", {"type": "boolean"}),
    ),
)
_FILE: Final[Mapping[str, Json]] = {
    "file_text": _tell("For create: the content of the file"),
    "old_str": _tell("For str_replace: the text to replace, which occurs exactly once"),
}
_MEMORY: Final = _Typed(
    "Reads and writes files under /memories, which outlive the conversation: look there before a task, and record "
    "progress and what was learned.",
    _make_schema(
        ("command",),
        command=_choose("view", "create", "str_replace", "insert", "delete", "rename"),
        path=_tell("Of the file or directory, such as /memories/notes.md; for all commands but rename"),
        view_range=_RANGE,
        **_FILE,
        new_str=_tell("For str_replace: the new text"),
        insert_line=_tell("For insert: the line after which the text is inserted; 0 is the beginning", _NUMBER),
        insert_text=_tell("For insert: the text"),
        old_path=_tell("For rename: the present path"),
        new_path=_tell("For rename: the new path"),
    ),
)


def _describe_editor(version: str, most: object) -> _Typed:
    commands = ["view", "create", "str_replace", "insert", *(["undo_edit"] if version in _OLD_EDITORS else [])]
    properties: dict[str, Json] = {
        "command": _choose(*commands),
        "path": _tell("Of the file, or for view of a directory"),
        "view_range": _RANGE,
        **_FILE,
        "new_str": _tell("For str_replace: the new text" if version >= _NEWEST_EDITOR else "The new text"),
        "insert_line": _tell("For insert: the line after which the text is inserted; 0 is the beginning", _NUMBER),
    }
    if version >= _NEWEST_EDITOR:
        properties["insert_text"] = _tell("For insert: the text")
    limit = f" A view is cut after {most} characters." if isinstance(most, int) else ""
    return _Typed(
        f"Views, creates and edits text files.{limit}",
        _make_schema(("command", "path"), **properties),
        ("max_characters",),
    )


def _describe_computer(version: str, wire: Mapping[str, Any]) -> _Typed:
    actions = ["key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click"]
    actions += ["double_click", "screenshot", "cursor_position"]
    properties: dict[str, Json] = {
        "coordinate": _POINT,
        "text": _tell("What to type; for key: keys such as ctrl+s"),
    }
    if version > _WITHOUT_SCROLL:
        actions += ["left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click"]
        properties |= {
            "start_coordinate": _tell("For left_click_drag: where the drag begins", _POINT),
            "scroll_direction": _choose("up", "down", "left", "right"),
            "scroll_amount": _tell("Clicks of the wheel", _NUMBER),
            "duration": _tell("For hold_key and wait: seconds", {"type": "number"}),
        }
    if version >= _WITH_ZOOM and wire.get("enable_zoom"):
        actions.append("zoom")
        corners: Json = {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4}
        properties["region"] = _tell("For zoom: left, top, right and bottom in pixels", corners)
    size = f"{wire.get('display_width_px')}x{wire.get('display_height_px')}"
    return _Typed(
        f"Uses a screen of {size} pixels, the mouse and the keyboard; a screenshot shows what is on the screen.",
        _make_schema(("action",), action=_choose(*actions), **properties),
        ("display_width_px", "display_height_px", "display_number", "enable_zoom"),
    )
