"""Reads README's table of client set-ups, as its readers would follow it."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

from tests.support.harness import CLIENT_ID
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
README_URL = "http://127.0.0.1:3000"
_TABLE = README.split("| to set up | how |\n| --- | --- |\n")[1].split("\n\n")[0]
SETUPS = dict(line.strip("| ").split(" | ", 1) for line in _TABLE.splitlines())


def read_code(client: str, url: str) -> list[str]:
    """Returns the pieces of code in a client's row, for a server at ``url``."""
    return [piece.replace(README_URL, url) for piece in re.findall(r"`([^`]*)`", SETUPS[client])]


def read_environ(client: str, url: str) -> dict[str, str]:
    """Returns the environment variables in front of the client's command."""
    [command] = read_code(client, url)
    words = [word.replace("$CLIENT_ID", CLIENT_ID).split("=", 1) for word in shlex.split(command)]
    return {word[0]: word[1] for word in words if len(word) == 2}


def read_gemini_environ(url: str) -> dict[str, str]:
    """Returns the environment variables in front of Gemini CLI's command."""
    words = [
        word.replace("$CLIENT_ID", CLIENT_ID).split("=", 1) for word in shlex.split(read_code("Gemini CLI", url)[-1])
    ]
    return {word[0]: word[1] for word in words if len(word) == 2}


def read_codex_config(url: str, model: str) -> str:
    """Returns Codex's ``config.toml`` with everything in its row, for this model."""
    pieces = read_code("Codex", url)
    start = pieces.index("[model_providers.here]")
    end = next((n for n in range(start + 1, len(pieces)) if " = " not in pieces[n]), len(pieces))
    top = [piece for n, piece in enumerate(pieces) if " = " in piece and not start < n < end]
    text = "\n".join(f'model = "{model}"' if line.startswith("model = ") else line for line in top)
    return "\n".join([text, *pieces[start:end], ""])


def parse_codex_config(url: str, model: str) -> dict[str, Any]:
    return tomllib.loads(read_codex_config(url, model))
