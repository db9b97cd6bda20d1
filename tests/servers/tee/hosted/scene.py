"""`etmcp-tee host` as a process, and a client that knows only JSON lines; policies for scripts of the tests."""

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from gateway.config import SOFTWARE
from tests.support.rawclient import LEGACY, Era, Json, envelope

TEE = str(Path(sys.executable).with_name("etmcp-tee"))
HERE = Path(__file__).parent
SECONDS = 60
LIMITS: Json = {
    "memoryBytes": 256 << 20,
    "wallSeconds": 60,
    "resultBytes": 1 << 20,
    "cpuSeconds": 60,
    "processes": 32,
    "descriptors": 256,
    "fileBytes": 32 << 20,
    "scratchBytes": 16 << 20,
    "scratchInodes": 1024,
}


def policy(folder: Path, *grants: Json, limits: Json | None = None, **members: Any) -> Path:
    """A policy that shows a hosted server these, and the scripts of this folder at `/scripts`."""
    files: Json = {"grants": [{"path": str(HERE), "guest": "/scripts"}, *grants], **members.pop("files", {})}
    document = {"kind": "execution", "version": 1, "tier": "service", "files": files, **members}
    path = folder / "policy.json"
    path.write_text(json.dumps(document | {"limits": LIMITS | (limits or {})}))
    return path


class Host:
    """One process and its only client. `answers` says what the client answers to a question of the server."""

    def __init__(
        self,
        log: Path,
        *words: str,
        era: Era = "modern",
        environ: Mapping[str, str] | None = None,
        capabilities: Json | None = None,
        answers: Callable[[Json], Json] | None = None,
    ) -> None:
        self.era: Era = era
        self._numbers, self._answers, self._capabilities = itertools.count(1), answers, capabilities or {}
        self._log = log
        self._stderr = log.open("ab")
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [TEE, "--cache", str(log.parent / "cache"), "host", *SOFTWARE, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **(environ or {})},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.notifications: list[Json] = []
        """All that came so far."""
        self.introduced: Json = {}
        try:
            self._introduce()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _introduce(self) -> None:
        if self.era == "legacy":
            info = {"name": "raw", "version": "1"}
            said = {"protocolVersion": LEGACY, "capabilities": self._capabilities, "clientInfo": info}
            reply = self.request("initialize", said)
            self.send({"method": "notifications/initialized"})
        else:
            reply = self.request("server/discover")
        assert "result" in reply, reply
        self.introduced = reply["result"]

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._in.close()
            self.process.wait(SECONDS)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self._out.close()
        self._stderr.close()

    @property
    def log(self) -> str:
        """Its lines for people, so far."""
        return self._log.read_text()

    def send(self, message: Json) -> None:
        """Send a message."""
        self._in.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._in.flush()

    def begin(self, method: str, params: Json | None = None) -> int:
        """Send a request; its id."""
        number, given = next(self._numbers), dict(params or {})
        if self.era == "modern":
            given["_meta"] = envelope(self._capabilities) | given.get("_meta", {})
        self.send({"id": number, "method": method, "params": given})
        return number

    def answer(self, number: int) -> Json:
        """The response to a request."""
        while True:
            message = self.next()
            if message.get("id") == number and "method" not in message:
                return message

    def next(self) -> Json:
        """The next message; questions are answered on the way."""
        line = self._lines.get(timeout=SECONDS)
        assert line, f"the host ended: {self.log[-2000:]}"
        message: Json = json.loads(line)
        if "method" in message and "id" in message:
            assert self._answers is not None, message
            self.send({"id": message["id"], **self._answers(message)})
        elif "method" in message:
            self.notifications.append(message)
        return message

    def request(self, method: str, params: Json | None = None) -> Json:
        """A request and its response."""
        return self.answer(self.begin(method, params))

    def call(self, name: str, **arguments: Any) -> Json:
        """The result of a tool."""
        reply = self.request("tools/call", {"name": name, "arguments": arguments})
        assert "result" in reply, reply
        return reply["result"]

    def text(self, name: str, **arguments: Any) -> str:
        """The text of a tool's result, which must be no error."""
        result = self.call(name, **arguments)
        assert not result.get("isError"), result
        return result["content"][0]["text"]

    def _read(self) -> None:
        for line in self._out:
            self._lines.put(line)
        self._lines.put(b"")


def script(name: str, *arguments: str) -> Sequence[str]:
    """The words that host a Python script of this folder."""
    return ("python3", str(HERE / name), *arguments)
