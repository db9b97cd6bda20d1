"""A folder in which a command runs: its home, its configuration, and what it finds there."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

from tests.cli.programs import Done, Programs
from tests.support.stage import LEAN, Lean, configuration

PROVEN = str(Path(LEAN).with_name("proven.py"))


class Place:
    """`config.json` names one good server `lean` with the tool `echo`, unless a test says otherwise."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder, self.programs = folder, programs
        self.config, self.home = folder / "config.json", folder / "home"
        self.lean = Lean(folder / "lean", "echo")
        self.configure(lean=self.lean.entry())

    def configure(self, **servers: Any) -> None:
        """These servers."""
        configuration(self.config, **servers)

    def write(self, name: str, content: str | bytes | Any) -> Path:
        """A file below the folder; what is neither text nor bytes becomes JSON."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def run(self, *arguments: str, **options: Any) -> Done:
        """`etmcp` with this configuration."""
        return self.programs.run(self.folder, ["--config", str(self.config), *arguments], **options)

    def done(self, *arguments: str, **options: Any) -> Done:
        """The same, where it must succeed."""
        done = self.run(*arguments, **options)
        assert done.code == 0, done
        return done

    def call(self, text: str = "hello") -> str:
        """One call of `echo`; returns its receipt's id."""
        return self.done("call", "echo", f"text={text}", "--json").json["_meta"]["com.etmcp/verification"]["receiptId"]

    def proven(self, mode: str = "good", **settings: Any) -> dict[str, Any]:
        """The entry of a server that proves its results; see `proven.py`."""
        self.write("proven/mode", mode)
        command = [PROVEN, str(self.folder / "proven")]
        path = {"PYTHONPATH": str(Path(__file__).parents[2])}
        return {"command": sys.executable, "args": command, "env": path, "etmcp": settings}

    def manifest(self, key: str = "publisher.key") -> dict[str, str]:
        """Sign a manifest of `lean` as it is now; returns the settings that hold it to that."""
        done = self.done("manifest", "lean", "--key", key, "manifest.json")
        return json.loads("{" + done.out.splitlines()[-1] + "}")["etmcp"]


class Busy:
    """A port on which something listens."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
