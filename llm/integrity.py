"""Hashes of the server's own files, to compare an installation with a release (X6)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent  # the folder of the installation
SHIPPED: Final = ("server.py", "llm", "handlers", "schemas")  # files and folders, as in ``deploy/Dockerfile``


def list_files(root: Path = ROOT) -> list[Path]:
    """Lists the server's own files, sorted by path."""
    found = [
        path for name in SHIPPED for path in ((root / name).rglob("*") if (root / name).is_dir() else [root / name])
    ]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def hash_files(root: Path = ROOT) -> list[str]:
    """Hashes the files; returns lines in the format of ``sha256sum``."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}" for path in list_files(root)]
