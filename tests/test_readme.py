"""Every example of the README, run as it stands against a running server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from typing import Any

import pytest

from llm.transport.demo.transport import DemoTransport
from tests.support.harness import CLIENT_ID, make_config, run_server
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```sh\n(.*?)```\n(?:```json\n(.*?)```)?", README, re.DOTALL)


def merged(objects: list[Any]) -> list[Any]:
    """Neighbouring pieces of one text as one: where they are cut is up to the network."""
    whole: list[Any] = []
    for one in objects:
        last = whole[-1] if whole else {}
        same = one.get("type") == last.get("type") and one.get("done") is last.get("done") is False
        if same and "text" in one:
            whole[-1] = {**last, "text": last["text"] + one["text"]}
        else:
            whole.append(one)
    return whole


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
async def test_an_example_does_what_the_readme_says(command: str, output: str) -> None:
    async with run_server(make_config(), demo=DemoTransport(idle_timeout=5, pace=0.001)) as server:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command.replace("http://127.0.0.1:3000", server.url),
            env={**os.environ, "CLIENT_ID": CLIENT_ID, "no_proxy": "*"},
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            told, _ = await process.communicate()
    assert process.returncode == 0
    text = told.decode()
    if output:
        told_objects = [json.loads(line) for line in text.splitlines()]
        assert merged(told_objects) == [json.loads(line) for line in output.splitlines()]
    elif "-X DELETE" in command:
        assert '"code":"cancelled"' in text
        assert "204" in text.split()
    else:
        assert '"error"' not in text
        assert "demo" in text
