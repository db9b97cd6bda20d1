"""The console scripts as a test runs them: arguments in; exit code, both outputs and the errors' source lines out."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
Program = Literal["etmcp", "etmcp-tee", "etmcp-verify"]


@dataclass(frozen=True)
class Done:
    """A program that ended. `sites` are the `file:line` of each `UserError` that was made."""

    code: int
    out: str
    err: str
    sites: list[str]

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


class Programs:
    """Forks them from one process that has imported everything; see `runner.py`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.cli.runner"]
        self._runner = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._runner.communicate()

    def run(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        program: Program = "etmcp",
        environ: Mapping[str, str] | None = None,
        stdin: str = os.devnull,
        stdout: str = "out",
        executable: str = sys.executable,
        largest: int | None = None,
    ) -> Done:
        """Run in `folder`, which is also its home; no file may grow beyond `largest` bytes."""
        plain = {"PATH": os.environ["PATH"], "HOME": str(folder), "ETMCP_HOME": str(folder / "home")}
        asked = {
            "program": program,
            "arguments": list(arguments),
            "folder": str(folder),
            "environ": plain | dict(environ or {}),
            "stdin": stdin,
            "stdout": stdout,
            "executable": executable,
            "largest": largest,
        }
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        sites = folder / "sites"
        sites.write_text("")
        (folder / "out").write_text("")
        self._runner.stdin.write(json.dumps(asked) + "\n")
        self._runner.stdin.flush()
        code = int(self._runner.stdout.readline())
        return Done(code, (folder / "out").read_text(), (folder / "err").read_text(), sites.read_text().split())
