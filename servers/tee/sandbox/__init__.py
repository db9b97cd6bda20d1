"""The role that runs other people's programs: a job in, an outcome out, nothing else touched.

One implementation per file: `wasm` (WebAssembly: CPython as a component of ours, QuickJS, components of the caller's).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal[
    "ok",
    "error",  # the program raised
    "trap",  # it used something that the sandbox has not
    "fuel",  # out of fuel
    "deadline",  # out of wall time
    "memory",  # out of memory
    "output",  # its value is not JSON, or it or the files are beyond a limit
    "host",  # its host calls went beyond a limit
    "divergence",  # repeated with a transcript, it asked for something else than the transcript says
]


class SandboxError(Exception):
    """The sandbox could not start or lost its worker. One line: what, where, what to do. Not the program's fault."""


class HostCallError(Exception):
    """Raised by a `HostCall`: the program gets the text as an error of its own, and the transcript says it."""


HostCall = Callable[[dict[str, Any]], Awaitable[Any]]
"""What answers one name, outside the sandbox: JSON in, JSON out. Raises `HostCallError` for the program to see.

It may be cancelled, by the deadline and with its caller. Any other error of it comes out of `Sandbox.run`.
"""


@dataclass(frozen=True)
class Exchange:
    """One host call as it went over the sandbox's border."""

    name: str
    request: str
    """As the program wrote it: JSON, unless the program made it otherwise."""
    response: str
    """As the program got it: JSON if `ok`, else the error's text."""
    ok: bool = True


@dataclass(frozen=True)
class Limits:
    """Bounds of one call. `fuel` decides alike on every machine; `wall_seconds` is the engine's own protection."""

    fuel: int = 10_000_000_000
    """Units of wasmtime fuel, about one per WebAssembly instruction."""
    memory_bytes: int = 256 << 20
    """Linear memory of the instance, of which Python itself takes about 20 MiB."""
    wall_seconds: float = 20.0
    result_bytes: int = 1 << 20
    """The value, as compact JSON in UTF-8."""
    stdout_bytes: int = 256 << 10
    """Standard output; the rest is dropped and `Outcome.truncated` set."""
    stderr_bytes: int = 256 << 10
    """Standard error, likewise."""
    files_bytes: int = 8 << 20
    """All files passed in, and all files that come back, together each."""
    depth: int = 64
    """Nesting of the value, at most 120."""
    cpu_seconds: float = 10.0
    """Processor time of a native process; fuel is the measure of the WebAssembly tier."""
    processes: int = 16
    """Processes and threads at once, where there are any."""
    descriptors: int = 256
    file_bytes: int = 64 << 20
    """The largest single file a native process may write."""
    scratch_bytes: int = 64 << 20
    """All that a native process keeps in its scratch file system, which is memory."""
    scratch_inodes: int = 4096
    host_calls: int = 64
    """How many times one call may ask its host."""
    host_bytes: int = 4 << 20
    """Names, requests and responses of all its host calls together."""

    @property
    def output_bytes(self) -> int:
        """What a guest that has one bound for both streams is told; each is cut to its own outside."""
        return max(self.stdout_bytes, self.stderr_bytes)

    def __post_init__(self) -> None:
        """Raise `ValueError` for a bound that could not hold."""
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"the limit {name} must be positive, it is {value}")
        if self.depth > 120:
            raise ValueError(f"the limit depth must be at most 120, it is {self.depth}")


@dataclass(frozen=True)
class Job:
    """One program and all that its result may depend on."""

    code: str
    """The value is what its `main` returns, else that of the last expression. Python's `main` gets `**arguments`,
    JavaScript's the object itself; without a `main`, arguments are global names."""
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Relative names, `/` between folders."""
    seed: bytes = bytes(32)
    """32 bytes: the source of all randomness."""
    clock_ms: int = 0
    """Milliseconds since 1970: where the program's clock starts."""
    limits: Limits = Limits()
    language: Literal["python", "javascript"] = "python"
    component: bytes | None = None
    """A WebAssembly module or component of the caller's, in place of `code` (which is then empty) and of `files`."""
    host_calls: Mapping[str, HostCall] = field(default_factory=dict[str, HostCall])
    """The names that the program may call, and what answers them. Nothing else leaves the sandbox."""
    replay: tuple[Exchange, ...] | None = None
    """A transcript to answer from, in its order, in place of `host_calls`. Any difference ends in `divergence`."""


@dataclass(frozen=True)
class Failure:
    """Why there is no value. `traceback` shows the program's own lines only, and is empty if it did not raise."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one call gave. All but `status`, `fuel_used` and sizes is what the program chose to say."""

    status: Status
    value: Any = None
    """JSON; None unless `status` is ok."""
    error: Failure | None = None
    """Set unless `status` is ok."""
    stdout: str = ""
    stderr: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Files made or changed, if `status` is ok."""
    fuel_used: int = 0
    """Measured outside the program. Equal for equal jobs under one `Sandbox.environment`, unless the deadline hit."""
    truncated: bool = False
    """Standard output or error was cut at its limit."""
    transcript: tuple[Exchange, ...] = ()
    """Every host call that was answered, in order, whatever came of the program. A job with this as its `replay` has
    the same outcome, `usage` aside, unless the deadline hit."""
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """What the supervisor measured (JSON); no part of what must repeat. `wasm` gives `fuel`, `wall_ms`,
    `memory_bytes` (linear memory at the end), `output_bytes` and `host_calls` (count, bytes, names)."""


class Sandbox(Protocol):
    """Runs jobs, each in a fresh instance."""

    @property
    def environment(self) -> Mapping[str, Any]:
        """What a second party needs to get the same outcome (JSON): tier, component digest, engine, its settings."""
        ...

    async def run(self, job: Job) -> Outcome:
        """Run one job. Raises `SandboxError` when the sandbox itself failed, `ValueError` for a job that is not one.

        When the caller is cancelled the program is stopped.
        """
        ...
