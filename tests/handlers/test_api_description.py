"""``/openapi.json`` and ``/llms.txt`` agree with the table of routes and the schemas."""

from __future__ import annotations

import doctest
import re
from typing import Any

from jsonschema import Draft202012Validator

from handlers import ROUTES
from handlers.ops import api_document
from llm import VERSION
from tests.support.harness import make_config, run_server
from tests.support.paths import ROOT

METHODS = {"get", "put", "post", "delete", "patch"}


async def fetch(path: str) -> Any:
    async with run_server(make_config()) as server:
        answer = await server.get(path, {})
        assert answer.status == 200
        return await (answer.json() if path.endswith(".json") else answer.body())


def find_references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for inner in value.values() for one in find_references(inner)]
    return [one for inner in value for one in find_references(inner)] if isinstance(value, list) else []


async def test_each_route_is_described() -> None:
    """Each path and method is there; a path that is described has a route."""
    document = await fetch("/openapi.json")
    described = {(path, method) for path, item in document["paths"].items() for method in item if method in METHODS}
    expected = set()
    for pattern, handler, _ in ROUTES:
        paths = [*api_document.write_paths(pattern)]
        assert paths
        for path in paths:
            assert re.fullmatch(pattern, re.sub(r"\{\w+\}", "x", path)), (pattern, path)
            expected |= {(path, method.lower()) for method in handler.methods}
    assert described == expected


async def test_the_document_is_openapi_3_1() -> None:
    """The rules of https://spec.openapis.org/oas/v3.1.1.html for what is used of it."""
    document = await fetch("/openapi.json")
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"] == {**document["info"], "title": "llm-server", "version": VERSION}
    assert set(document) <= {"openapi", "info", "servers", "security", "paths", "components", "tags", "externalDocs"}
    ids = []
    schemes = set(document["components"]["securitySchemes"])
    for path, item in document["paths"].items():
        assert path.startswith("/") and set(item) <= METHODS | {"parameters", "summary", "description"}
        named = [one["name"] for one in item.get("parameters", ())]
        assert re.findall(r"\{(\w+)\}", path) == named and len(set(named)) == len(named)
        for one in item.get("parameters", ()):
            assert one["in"] == "path" and one["required"] is True and one["schema"]
        for method in METHODS & set(item):
            operation = item[method]
            ids.append(operation["operationId"])
            assert operation["summary"] and operation["tags"]
            assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in operation["responses"])
            assert all(one["description"] for one in operation["responses"].values())
            assert all(set(one) <= schemes for one in operation.get("security", ()))
            assert ("requestBody" in operation) <= (method in ("post", "put", "patch"))
    assert len(set(ids)) == len(ids)
    assert all(set(one) <= schemes for one in document["security"])


async def test_the_schemas_are_those_of_the_folder_and_references_hold() -> None:
    document = await fetch("/openapi.json")
    schemas = document["components"]["schemas"]
    assert set(schemas) == {path.name.removesuffix(".json") for path in (ROOT / "schemas").glob("*.json")}
    for name, schema in schemas.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        Draft202012Validator.check_schema(schema)
    used = set()
    for reference in find_references(document):
        at = document
        assert reference.startswith("#/")
        for step in reference[2:].split("/"):
            at = at[step]
        used.add(reference.split("/")[3])
    assert used == set(schemas)  # no schema is for a body that no route has
    body = document["paths"]["/v1/rerank"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/rerank"}
    content = document["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}


async def test_open_routes_need_no_key_and_others_do() -> None:
    document = await fetch("/openapi.json")
    access = {path: handler.access for pattern, handler, _ in ROUTES for path in api_document.write_paths(pattern)}
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            assert (item[method].get("security") == []) is (access[path] == "open"), path


async def test_the_text_for_programs_names_each_endpoint_and_this_address() -> None:
    async with run_server(make_config()) as server:
        answer = await server.get("/llms.txt", {})
        text = (await answer.body()).decode()
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert f"{server.url}/v1" in text and f"({server.url}/openapi.json)" in text
        hostile = await server.get("/llms.txt", {"Host": "a b<script>"})
        assert "script" not in (await hostile.body()).decode()
    assert text.startswith("# llm-server\n\n> ")
    for pattern, handler, _ in ROUTES:
        for path in api_document.write_paths(pattern):
            assert f"- `{','.join(handler.methods)} {path}`: " in text
    assert len(text) < 16_000


def test_the_examples_in_the_code_hold() -> None:
    assert doctest.testmod(api_document).failed == 0


def test_a_summary_is_a_short_sentence() -> None:
    for endpoint in api_document.list_endpoints(ROUTES):
        assert endpoint.summary[:1].isupper() and "`" not in endpoint.summary, endpoint.path
        assert not re.search(r"\([A-Z]\d+\)", endpoint.summary), endpoint.path
        assert 5 < len(endpoint.summary) < 130, endpoint.path
    served = {endpoint.path for endpoint in api_document.list_endpoints(ROUTES)}
    assert set(vars(api_document)["_SUMMARIES"]) <= served
