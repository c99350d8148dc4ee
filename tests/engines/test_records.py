"""The records are complete, and README and ``.env.sample`` agree with the code."""

from __future__ import annotations

import re

import pytest

from llm.config.engines import variable_name
from llm.config.settings import SETTINGS, Config, list_variables
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Engine, Target
from llm.engines.records import ENGINES
from llm.transport.demo.script import MODELS
from llm.transport.interface import HttpRequest
from llm.upstream.credentials import CREDENTIALS, ApiKey
from tests.support import abilities
from tests.support.harness import CLIENT, Upstream, make_config, run_server
from tests.support.paths import ROOT
from tests.support.streams import make_script
from tests.support.wires import CLIENTS, WIRES

README = (ROOT / "README.md").read_text()


def read_table(mark: str) -> list[list[str]]:
    """Returns the rows of the README's table between two marks, without its head."""
    body = re.search(rf"<!-- {mark}[ :].*?-->\n(.*?)<!-- /{mark} -->", README, re.DOTALL)
    assert body, mark
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body[1].splitlines()]
    return rows[2:]


def engine_row(engine: Engine) -> list[str]:
    key = f"`{variable_name(engine.name, 'API_KEY')}`" if engine.needs_key else "none"
    if engine.local:
        key = f"`{variable_name(engine.name, 'ENABLED')}=true`"
    elif engine.name == "demo":
        key = "none (`DEMO_ENABLED`)"
    address = f"`{engine.base_url}`" if engine.base_url.startswith("http") else "this server"
    if not engine.base_url:
        address = f"`{variable_name(engine.name, 'BASE_URL')}`"
    return [f"`{engine.name}`", engine.label, f"`{engine.dialect}`", key, address]


def test_the_readme_s_table_of_engines_equals_the_records() -> None:
    assert read_table("engines") == [engine_row(engine) for engine in ENGINES.values()]


def test_the_readme_s_table_of_abilities_equals_the_records() -> None:
    assert read_table("abilities") == abilities.table(dict(ENGINES))


def test_the_readme_s_table_of_settings_equals_the_code() -> None:
    documented = {row[0]: row[1:] for row in read_table("settings")}
    for setting in SETTINGS:
        assert documented.pop(f"`{setting.name}`") == [
            f"`{setting.default}`" if setting.default else "none",
            setting.meaning,
        ]
    assert set(documented) == {
        "`AUTHORIZED_CLIENT_ID`", "`{ENGINE}_API_KEY`", "`{ENGINE}_BASE_URL`", "`OLLAMA_ENABLED`, `LMSTUDIO_ENABLED`",
        "`{ENGINE}_MODELS`", "`AZURE_API_VERSION`, `AZURE_DEPLOYMENT`", "`DEMO_ENABLED`", "`CUSTOM_ENGINES`", "`{ENGINE}_THINK_TAGS`",
        "`{ENGINE}_REASONING_BACK`", "`{ENGINE}_REASONING_FIELD`", "`{ENGINE}_CACHE_MARKS`", "`{ENGINE}_RESPONSES`", "`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`",
    }  # fmt: skip


def test_the_readme_s_table_of_demo_models_equals_the_code() -> None:
    assert read_table("demo") == [[f"`{name}`", meaning] for name, meaning in MODELS.items()]


def test_the_documented_defaults_are_the_defaults_of_config() -> None:
    plain = Config()
    for setting in SETTINGS:
        defaults = (setting.parse(setting.default),) if setting.default else ((), "")
        assert getattr(plain, setting.attribute) in defaults, setting.name


def test_env_sample_names_every_setting_and_nothing_else() -> None:
    sample = (ROOT / ".env.sample").read_text()
    named = re.findall(r"^#([A-Za-z_]+)=", sample, re.MULTILINE)
    custom = {"VLLM_BASE_URL", "VLLM_API_KEY", "VLLM_LABEL", "VLLM_DIALECT"}
    assert set(named) - custom <= list_variables(ENGINES) | {"DEMO_ENABLED"}
    assert {setting.name for setting in SETTINGS} <= set(named)
    assert {variable_name(e.name, "API_KEY") for e in ENGINES.values() if e.needs_key} <= set(named)
    values = dict(re.findall(r"^#([A-Z_]+)=(.*)$", sample, re.MULTILINE))
    for setting in SETTINGS:
        if setting.default:
            assert values[setting.name] == setting.default


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_record_is_complete(engine: Engine) -> None:
    assert engine.dialect in ENGINE_DIALECTS
    assert engine.label and engine.docs
    assert engine.needs_key or engine.local or engine.name == "demo"
    assert re.fullmatch(r"[a-z]+", engine.name)
    assert engine.credentials in CREDENTIALS
    name, template = engine.auth.split(": ")
    request = HttpRequest(method="POST", url="http://127.0.0.1/", headers=engine.headers)
    assert ApiKey().sign(request, Target(engine=engine, model="m", key="K")) == {
        **engine.headers,
        name: template.format(key="K"),
    }
    assert ApiKey().sign(request, Target(engine=engine, model="m")) == engine.headers


async def test_an_engine_can_be_added_by_configuration_alone() -> None:
    wire = WIRES["openai"]
    async with Upstream(make_script(wire, wire.head, wire.delta("Hi from the box"), wire.end)).run() as upstream:
        environ = {"CUSTOM_ENGINES": "vllm,box-2", "VLLM_BASE_URL": f"{upstream.url}/v1", "VLLM_LABEL": "vLLM"}
        async with run_server(
            make_config(**environ, BOX_2_BASE_URL=upstream.url, BOX_2_API_KEY="sk-of-the-box")
        ) as server:
            engines = await (await server.get("/llm/engines")).json()
            assert engines == {"engines": [{"id": "vllm", "name": "vLLM"}, {"id": "box-2", "name": "box-2"}]}
            for engine, client in (("vllm", "native"), ("box-2", "openai"), ("vllm", "anthropic")):
                wire_ = CLIENTS[client]
                answer = await server.post(wire_.path, wire_.request(engine, "some/model"), wire_.headers)
                assert wire_.read(await answer.body()).text == "Hi from the box"
            # An engine without a key is for callers with a client id only.
            stranger = await server.post("/llm/chat", {**CLIENTS["native"].request("vllm"), "vllmKey": "sk-1234"}, {})
            assert stranger.status == 400
    assert [sent.path for sent in upstream.requests] == [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/chat/completions",
    ]
    assert "Authorization" not in upstream.requests[0].headers
    assert upstream.requests[1].headers["Authorization"] == "Bearer sk-of-the-box"
    assert all(sent.json["model"] == "some/model" for sent in upstream.requests)


async def test_the_demo_engine_is_disabled_when_another_engine_is_configured() -> None:
    async with run_server(make_config(OPENAI_API_KEY="sk-12345678")) as server:
        engines = await (await server.get("/llm/engines", CLIENT)).json()
        assert [engine["id"] for engine in engines["engines"]] == ["openai"]
    async with run_server(make_config(OPENAI_API_KEY="sk-12345678", DEMO_ENABLED="true")) as server:
        engines = await (await server.get("/llm/engines", CLIENT)).json()
        assert [engine["id"] for engine in engines["engines"]] == ["openai", "demo"]


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/openai/v1/chat/completions"),
        ({"base": "/openai/v1"}, "/openai/v1/chat/completions"),
        (
            {"AZURE_API_VERSION": "2024-10-21"},
            "/openai/deployments/some%2Fmodel/chat/completions?api-version=2024-10-21",
        ),
        ({"AZURE_API_VERSION": "v", "AZURE_DEPLOYMENT": "d"}, "/openai/deployments/d/chat/completions?api-version=v"),
    ],
)
async def test_azure_urls_have_two_forms(environ: dict[str, str], path: str) -> None:
    wire = WIRES["openai"]
    more = {name: value for name, value in environ.items() if name != "base"}
    async with Upstream(make_script(wire, wire.head, wire.delta("Hi"), wire.end)).run() as upstream:
        base = upstream.url + environ.get("base", "")
        async with run_server(make_config(AZURE_API_KEY="azure-key-1", AZURE_BASE_URL=base, **more)) as server:
            objects = await server.chat(engine="azure", model="some/model")
            models = await (await server.get("/llm/models/azure")).json()
    assert objects[0]["text"] == "Hi"
    [sent] = upstream.requests
    assert (sent.path, sent.headers["api-key"]) == (path, "azure-key-1")
    assert [model["id"] for model in models["models"]["chat"]] == ["default"]


async def test_an_engine_without_a_base_url_is_not_listed() -> None:
    async with run_server(make_config(AZURE_API_KEY="azure-key-1", DEMO_ENABLED="true")) as server:
        engines = await (await server.get("/llm/engines")).json()
        assert [engine["id"] for engine in engines["engines"]] == ["demo"]


async def test_models_can_be_configured() -> None:
    async with run_server(make_config(GROQ_API_KEY="gsk_12345678", GROQ_MODELS="a/b, openai/gpt-oss-20b")) as server:
        models = await (await server.get("/llm/models/groq")).json()
    assert [m["id"] for m in models["models"]["chat"]] == ["a/b", "openai/gpt-oss-20b"]
    assert models["models"]["chat"][1]["capabilities"]["reasoning"]
