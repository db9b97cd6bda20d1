"""Clients of the gateway that know only JSON and bytes, and keep every byte that they receive."""

import http.client
import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

Json = dict[str, Any]
Era = Literal["modern", "legacy"]

VERSION = "2026-07-28"
LEGACY = "2025-11-25"
ETMCP = str(Path(sys.executable).with_name("etmcp"))
SECONDS = 30


def envelope(capabilities: Json | None = None) -> Json:
    """The `_meta` members of a modern client that can do this."""
    return {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }


@dataclass(frozen=True)
class Reply:
    """What came for one request: the notifications, the response, and all bytes since the request was sent."""

    notifications: list[Json]
    response: Json
    raw: bytes

    @property
    def result(self) -> Json:
        """The result; fails where there is an error instead."""
        assert "result" in self.response, self.response
        return self.response["result"]

    @property
    def error(self) -> Json:
        """The error; fails where there is a result instead."""
        assert "error" in self.response, self.response
        return self.response["error"]

    @property
    def verification(self) -> Json:
        """Our verdict beside the result."""
        return self.result["_meta"]["com.etmcp/verification"]


class Client(Protocol):
    """Either of the two below."""

    def request(self, method: str, params: Json | None = None) -> Reply:
        """Send one request in this client's era and wait for its response."""
        ...

    def line(self, text: bytes) -> Json:
        """Send bytes as they are and return the next response, whatever it answers."""
        ...


class StdioClient:
    """Starts `etmcp stdio` and speaks to it over its pipes; its stderr goes to a file."""

    def __init__(
        self, config: Path, home: Path, stderr: Path, era: Era = "modern", options: Sequence[str] = ()
    ) -> None:
        self.era: Era = era
        self._numbers = itertools.count(1)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._stderr = stderr.open("ab")
        self._process = subprocess.Popen(
            [ETMCP, "--config", str(config), "--home", str(home), *options, "stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if era == "legacy":
            said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
            self.request("initialize", said)
            self._put(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode())

    def __enter__(self) -> "StdioClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(BrokenPipeError):
            self._in.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._out.close()
        self._stderr.close()

    def request(self, method: str, params: Json | None = None) -> Reply:
        """See `Client`."""
        number = next(self._numbers)
        self._put(json.dumps(_message(number, method, params, self.era)).encode())
        notifications: list[Json] = []
        raw = b""
        while True:
            line = self._next()
            raw += line
            message: Json = json.loads(line)
            if message.get("id") == number and "method" not in message:
                return Reply(notifications, message, raw)
            notifications.append(message)

    def line(self, text: bytes) -> Json:
        """See `Client`."""
        self._put(text)
        return json.loads(self._next())

    def _put(self, line: bytes) -> None:
        self._in.write(line + b"\n")
        self._in.flush()

    def _next(self) -> bytes:
        line = self._lines.get(timeout=SECONDS)
        assert line, "the gateway hung up"
        return line

    def _read(self) -> None:
        for line in self._out:
            self._lines.put(line)
        self._lines.put(b"")


class HttpClient:
    """Speaks Streamable HTTP to a running `etmcp serve`."""

    def __init__(self, port: int, era: Era = "modern") -> None:
        self.era: Era = era
        self._numbers = itertools.count(1)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._session: dict[str, str] = {}
        if era == "legacy":
            said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
            body = json.dumps(_message(0, "initialize", said, era)).encode()
            _, headers, _ = self._post(body, {})
            self._session = {"mcp-session-id": headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
            self._post(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode(), self._session)

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._connection.close()

    def request(self, method: str, params: Json | None = None) -> Reply:
        """See `Client`."""
        message = _message(next(self._numbers), method, params, self.era)
        raw, _, messages = self._post(json.dumps(message).encode(), self._headers(method, params or {}))
        return Reply(messages[:-1], messages[-1], raw)

    def line(self, text: bytes) -> Json:
        """See `Client`."""
        return self._post(text, self._headers("tools/call", {"name": "echo"}))[2][-1]

    def _headers(self, method: str, params: Json) -> dict[str, str]:
        if self.era == "legacy":
            return self._session
        name = params.get("name", params.get("uri") if method == "resources/read" else params.get("taskId"))
        named = {"mcp-name": str(name)} if name is not None else {}
        return {"mcp-protocol-version": VERSION, "mcp-method": method} | named

    def _post(self, body: bytes, extra: Mapping[str, str]) -> tuple[bytes, Mapping[str, str], list[Json]]:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        try:
            self._connection.request("POST", "/mcp", body, headers | dict(extra))
            response = self._connection.getresponse()
            raw = response.read()
        finally:
            self._connection.close()  # an idle one would be closed by the server while we write
        return raw, {name.lower(): value for name, value in response.getheaders()}, messages_in(raw)


def messages_in(body: bytes) -> list[Json]:
    """The messages of a JSON body or of an event stream."""
    if not body.lstrip().startswith(b"{"):
        # Only the line ends of the event stream: U+2028 and its like are text.
        lines = body.replace(b"\r\n", b"\n").split(b"\n")
        return [json.loads(line[5:]) for line in lines if line.startswith(b"data:") and line[5:].strip()]
    return [json.loads(body)]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once something listens there; fails where the process ended instead."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
    raise AssertionError("the gateway does not listen")


def authority(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _message(number: int, method: str, params: Json | None, era: Era) -> Json:
    message: Json = {"jsonrpc": "2.0", "id": number, "method": method}
    given = dict(params or {})
    if era == "modern":
        meta = given.get("_meta")
        given["_meta"] = envelope() | (meta if isinstance(meta, dict) else {})
    return message | {"params": given} if given or era == "modern" else message
