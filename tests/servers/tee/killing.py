"""Processes to kill and what is left of them; two functions that prove that they ran, and who counts their runs."""

import hashlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio

from tests.servers.tee.library.scene import HINTS, folder, policy, run

Json = dict[str, Any]
Process = tuple[int, str]
"""Process id and start: a pair that no other process has."""
SECONDS = 60

_WORK = """
import hashlib
def work(n, rounds):
    said = str(n).encode()
    for _ in range(rounds):
        said = hashlib.sha256(said).digest()
    return said.hex()
"""
_NATIVE = f"""{_WORK}
import os
def main(n, rounds):
    return {{"n": n, "work": work(n, rounds), "run": os.urandom(16).hex()}}
"""
_WASM = f"""{_WORK}
import base64, host
def main(n, rounds, url):
    said = host.call("fetch", {{"method": "GET", "url": f"{{url}}/{{n}}", "headers": {{}}}})
    return {{"n": n, "work": work(n, rounds), "run": base64.b64decode(said["body"]).decode()}}
"""


def work(n: int, rounds: int) -> str:
    """What both functions compute."""
    said = str(n).encode()
    for _ in range(rounds):
        said = hashlib.sha256(said).digest()
    return said.hex()


class Counter:
    """Gives every run of the wasm function a word that nobody else has; `given` are the words by the call's number."""

    def __init__(self) -> None:
        self.given: dict[int, set[str]] = {}  # grown by the threads of the HTTP server, read at the end
        self.url = ""  # set once, when it listens

    def answer(self, n: int) -> str:
        """One more run."""
        word = secrets.token_hex(16)
        self.given.setdefault(n, set()).add(word)
        return word


@contextmanager
def counter() -> Generator[Counter]:
    """On a port of this machine."""
    counts = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            word = counts.answer(int(self.path[1:])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(word)))
            self.end_headers()
            self.wfile.write(word)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Not told."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # whoever asked was killed
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        counts.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield counts
        server.shutdown()
        thread.join()


def options(place: Path, counts: Counter) -> list[str]:
    """A library with both functions and a policy that grants what they ask for: what a server is started with."""
    number = {"type": "integer"}
    rule = {"scheme": "http", "host": "127.0.0.1", "ports": [int(counts.url.rpartition(":")[2])]}
    asked = {"hostCalls": ["fetch"], "network": {"rules": [rule]}}
    properties = {"n": number, "rounds": number}
    native = folder(place / "native_work", _NATIVE, tier="process", input={"type": "object", "properties": properties})
    wasm = folder(
        place / "wasm_work",
        _WASM,
        annotations=HINTS | {"open_world": True},
        program={"language": "python", "file": "main.py", "host_calls": ["fetch"]},
        input={"type": "object", "properties": properties | {"url": {"type": "string"}}},
        policy=asked,
    )
    assert run("library", "add", "--library", place / "lib", native, wasm) == 0
    operator = policy(place / "policy.json", **asked)
    return ["--library", str(place / "lib"), "--unsigned-policy", str(operator), "--workers", "2"]


def children(pid: int) -> list[int]:
    """Of a process that may be gone by now."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        pass
    return found


def descendants(pid: int) -> list[int]:
    """All that came of it."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def command(pid: int) -> bytes:
    """Its command line; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def workers(pid: int) -> list[int]:
    """The processes of the wasm tier of this server."""
    return [child for child in children(pid) if b"servers.tee.sandbox.worker" in command(child)]


def fork_servers(pid: int) -> list[int]:
    """Of this server."""
    return [child for child in children(pid) if b"process/boot.py" in command(child)]


def born(pid: int) -> Process | None:
    """Who has this process id; None where nobody lives who has it."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else (pid, words[19])


def census(pid: int) -> set[Process]:
    """The process and all that came of it, as far as they live."""
    return {found for each in (pid, *descendants(pid)) if (found := born(each)) is not None}


def alive(processes: set[Process]) -> set[Process]:
    """Those that still are."""
    return {each for each in processes if born(each[0]) == each}


def control_groups(server: int) -> list[str]:
    """Those of a fork server."""
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/**/etmcp-{server}-*")]


def descriptors(pid: int) -> dict[str, int]:
    """How many of each kind a process holds."""
    kinds: dict[str, int] = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind = os.readlink(path).partition(":")[0]  # noqa: PTH115  it is no path: pipe:[1]
        except OSError:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


async def kill(pid: int) -> bool:
    """SIGKILL, and wait for its death. False where it was gone already."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with anyio.fail_after(SECONDS):
            await anyio.wait_readable(pidfd)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


async def until(true: Callable[[], object]) -> None:
    """Other processes make it true, and tell nobody."""
    with anyio.fail_after(SECONDS):
        while not true():  # noqa: ASYNC110  see above
            await anyio.sleep(0.01)
