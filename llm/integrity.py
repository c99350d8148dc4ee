"""The files that this server is made of, with their hashes: to be compared with those of a release (X6)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
SHIPPED: Final = ("server.py", "llm", "handlers", "schemas")  # as the container file copies them


def files(root: Path = ROOT) -> list[Path]:
    """All of them, in the order of their names."""
    found = [
        path for name in SHIPPED for path in ((root / name).rglob("*") if (root / name).is_dir() else [root / name])
    ]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def hashes(root: Path = ROOT) -> list[str]:
    """Lines as ``sha256sum`` writes and checks them."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}" for path in files(root)]
