"""Configurations of lean servers, each in a folder that says how it behaves."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import lean

LEAN = str(Path(lean.__file__))


class Lean:
    """One scripted server; what is set here holds from its next start."""

    def __init__(self, folder: Path, *names: str, mode: str = "good") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.behave(mode)
        self.offer(*map(lean.tool, names))

    def behave(self, mode: str) -> None:
        """See `lean.py`."""
        (self.folder / "mode").write_text(mode)

    def offer(self, *tools: Mapping[str, Any]) -> None:
        """Exactly these tools."""
        (self.folder / "tools.json").write_text(json.dumps(tools))

    @property
    def pids(self) -> list[int]:
        """Of all processes that it was."""
        return [int(line) for line in (self.folder / "pids").read_text().split()]

    def entry(self, **settings: Any) -> dict[str, Any]:
        """What stands under `mcpServers`, with these settings under `etmcp`."""
        return {"command": sys.executable, "args": ["-I", "-S", LEAN, str(self.folder)], "etmcp": settings}


def configuration(path: Path, **servers: Mapping[str, Any]) -> Path:
    """Write a configuration file."""
    path.write_text(json.dumps({"mcpServers": servers}))
    return path
