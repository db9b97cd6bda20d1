"""Sets a gateway between a raw client and servers behind a man in the middle, and looks for what leaked."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.rawclient import Client, Json, Reply

ACTORS = Path(__file__).parent / "actors"
HONEST = "honest"


def token() -> str:
    """A string that nobody else writes."""
    return "canary" + secrets.token_hex(12)


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Middle:
    """One man in the middle: where his orders are, and every byte that he saw."""

    control: Path
    seen: Path

    @classmethod
    def at(cls, folder: Path, name: str, mode: str = HONEST) -> "Middle":
        """A new one, with his first order. What is beside the gateway's home is hidden from him, so he has a folder."""
        (folder / "middle").mkdir(exist_ok=True)
        middle = cls(folder / "middle" / f"{name}.order", folder / "middle" / f"{name}.seen")
        middle.order(mode, plant=f"first{name}")
        middle.seen.touch()
        return middle

    def order(self, mode: str, **more: Any) -> None:
        """What he does from the next message on."""
        draft = self.control.with_suffix(".draft")
        draft.write_text(json.dumps({"mode": mode, "now": clock(), **more}))
        draft.replace(self.control)


@dataclass(frozen=True)
class Running:
    """A server or proxy over HTTP."""

    url: str
    attester: str


class Cast:
    """Starts the actors and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()

    def __enter__(self) -> "Cast":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self, script: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start an actor that will print one line."""
        command = [sys.executable, str(ACTORS / script), *arguments]
        errors = self.stack.enter_context((self.folder / "actors.log").open("ab"))
        process = self.stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors))
        self.stack.callback(process.kill)
        return process

    def server(self, name: str, *flags: str) -> "subprocess.Popen[bytes]":
        """Start the honest server over HTTP."""
        return self.start("server.py", "http", name, *flags)

    def proxy(self, middle: Middle, real: Running, other: Running) -> Running:
        """Put a man in front of a server."""
        started = self.start("as_proxy.py", str(middle.control), str(middle.seen), other.url, real.url)
        return Running(ready(started).url, real.attester)


def ready(process: "subprocess.Popen[bytes]") -> Running:
    """Wait for the line that says where it is."""
    assert process.stdout is not None
    told: Json = json.loads(process.stdout.readline())
    return Running(told["url"], told.get("attester", ""))


def on_pipe(middle: Middle, other: Running, **settings: Any) -> Json:
    """The configuration of a stdio server behind a man in the middle."""
    server = [sys.executable, str(ACTORS / "server.py"), "stdio", "honest"]
    arguments = [str(ACTORS / "on_pipe.py"), str(middle.control), str(middle.seen), other.url, "--", *server]
    return {"command": sys.executable, "args": arguments, "etmcp": settings}


def direct(*flags: str, **settings: Any) -> Json:
    """The configuration of the honest server over stdio."""
    return {
        "command": sys.executable,
        "args": [str(ACTORS / "server.py"), "stdio", "honest", *flags],
        "etmcp": settings,
    }


def at(running: Running, *, trusted: bool = True, **settings: Any) -> Json:
    """The configuration of a server over HTTP."""
    keys = {"attesters": [running.attester]} if trusted else {}
    return {"url": running.url, "etmcp": {**keys, **settings}}


def written(folder: Path, servers: Mapping[str, Json]) -> Path:
    """The configuration file."""
    path = folder / "etmcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


@dataclass
class Stage:
    """A running gateway, its client, and those in the middle by the server alias they stand before."""

    client: Client
    home: Path
    stderr: Path
    middles: Mapping[str, Middle] = field(default_factory=dict[str, Middle])

    def order(self, alias: str, mode: str, **more: Any) -> None:
        """Give an order."""
        self.middles[alias].order(mode, **more)

    def call(self, alias: str, tool: str, text: str, **params: Any) -> Reply:
        """Call one tool of one server; `params` are further members."""
        return self.client.request("tools/call", {"name": f"{alias}_{tool}", "arguments": {"text": text}, **params})

    def found(self, words: Iterable[str], raw: bytes) -> list[str]:
        """Where one of the words is that should be nowhere: the client's bytes, our stderr, our files."""
        places = {"the client": raw, "stderr": self.stderr.read_bytes()}
        for folder, _, names in os.walk(self.home):
            places |= {name: (Path(folder) / name).read_bytes() for name in names}
        return [f"{word} in {place}" for word in words for place, held in places.items() if word.encode() in held]

    def control(self, alias: str) -> None:
        """The untouched call passes, and says what it is worth."""
        self.order(alias, HONEST)
        text = token()
        reply = self.call(alias, "echo", text)
        assert reply.result["content"] == [{"type": "text", "text": text}]
        verdict = reply.verification
        assert (verdict["verdict"], verdict["kind"], verdict["assurance"]) == (
            "verified",
            "executor-attested",
            "software",
        ), verdict
        assert verdict["server"] == alias


def code_of(reply: Reply) -> str:
    """The code with which a result was withheld; fails where one was given."""
    verdict = reply.verification
    assert reply.result["isError"] is True
    assert verdict["verdict"] == "withheld"
    assert set(reply.result) <= {"content", "isError", "_meta", "resultType"}
    return str(verdict["code"])
