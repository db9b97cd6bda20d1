"""From a job to the guest's request, and from the guest's answer to an outcome.

The answer is the program's word: it is bounded, parsed strictly, and its every member checked against the job's limits
again, since a program may replace whatever checked them inside.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, cast

from attest import canonical
from attest.errors import CanonicalError
from servers.tee.sandbox import Failure, Job, Limits, Outcome, Status
from servers.tee.sandbox.worker import MAX_REQUEST

_MAX_CLOCK_MS = 250_000_000_000_000  # in the year 9892, so that a program can still add to it
_ERROR_BYTES = 128 << 10  # what a guest's error may take at most, escapes included
_CLAIMS: Mapping[str, Status] = {"ok": "ok", "error": "error", "memory": "memory", "output": "output"}

_WAITS = "it waited for a lock, a queue or a timer, which nothing in this sandbox will end"
_SERVICES = {
    "monotonic_clock": _WAITS,
    "poll": _WAITS,
    "wall_clock": "the machine's clock",
    "random": "the machine's randomness",
    "filesystem": "the machine's files",
    "exit": "ending the process",
    "abort": "ending the process",
    "std": "the standard streams of the process",
    "tcp": "the network",
    "udp": "the network",
    "network": "the network",
}


def request(job: Job) -> bytes:
    """What the guest reads. Equal arguments give equal bytes, in whatever order they were built (RFC 8785).

    A caller's component reads the arguments alone. Raises `ValueError` if the job is not one: a name, the seed, the
    clock, JSON, the files' size, or a component beside a code or files.
    """
    if len(job.seed) != 32:
        raise ValueError(f"a job's seed is 32 bytes, not {len(job.seed)}")
    if not 0 <= job.clock_ms <= _MAX_CLOCK_MS:
        raise ValueError(f"a job's clock is milliseconds since 1970, not {job.clock_ms}")
    for name in job.files:
        if not sound_name(name):
            raise ValueError(f"a file's name is a relative path of printable text, not {name!r}")
    size = sum(map(len, job.files.values()))
    if size > job.limits.files_bytes:
        raise ValueError(f"the files passed are {size} bytes together; the limit is {job.limits.files_bytes}")
    if job.component is not None and (job.code or job.files):
        raise ValueError("a component comes in place of the code and of files, not beside them")
    bounds = ("output_bytes", "result_bytes", "files_bytes", "memory_bytes", "depth", "host_bytes")
    whole: dict[str, Any] = {
        "code": job.code,
        "arguments": job.arguments,
        "files": {name: base64.b64encode(data).decode() for name, data in job.files.items()},
        "seed": job.seed.hex(),
        "clock_ms": job.clock_ms,
        "limits": {name: getattr(job.limits, name) for name in bounds},
    }
    try:
        text = canonical.canonical(whole if job.component is None else job.arguments)
    except CanonicalError as e:
        raise ValueError(f"the code and the arguments must be JSON: {e.detail}") from e
    if len(text) > MAX_REQUEST:
        raise ValueError(f"the job is {len(text)} bytes as JSON; the limit is {MAX_REQUEST}")
    return text


def memory_floor(job: Job, request: bytes) -> int:
    """The least memory in which the guest takes in a request: itself, and the text, its JSON and the files in it.

    Below this it is not started. Python's allocator answers zero when it has nothing left, which the component runtime
    does not check, so that the request would land on the interpreter's own memory.
    """
    itself = 0 if job.component is not None else 4 << 20 if job.language == "javascript" else 32 << 20
    return itself + 3 * len(request)


def no_memory(limits: Limits, fuel_used: int = 0) -> Outcome:
    """The outcome of a job that does not fit in its own memory limit."""
    message = f"the job does not fit in the {limits.memory_bytes >> 20} MiB of memory it may use"
    return _failed("memory", message, fuel_used)


def answer_bytes(limits: Limits) -> int:
    """The longest answer that an honest guest gives under these limits: a control character takes six bytes."""
    return limits.result_bytes + 12 * limits.output_bytes + 2 * limits.files_bytes + _ERROR_BYTES


def outcome(report: Mapping[str, Any], said: bytes, job: Job) -> Outcome:
    """The outcome of a call from what the worker measured and what the program said."""
    limits = job.limits
    fuel_used = int(report["fuel_used"])
    detail = str(report["detail"])
    match report["status"]:
        case "ok":
            try:
                return _value(said, limits, fuel_used) if job.component else _checked(said, limits, fuel_used)
            except _Unsound as e:
                status, message = "output", str(e)
        case "fuel":
            status, message = "fuel", f"the program used up its {limits.fuel} units of fuel"
        case "deadline":
            return deadline(limits, fuel_used)
        case "memory":
            return no_memory(limits, fuel_used)
        case "host":
            most = f"more than {limits.host_bytes} bytes of host calls, the limit"
            status, message = "host", f"the program's host calls: {most if detail == 'size' else detail}"
        case "divergence":
            status, message = "divergence", detail
        case "output":
            status, message = "output", detail
        case _:
            status, message = "trap", _explain(detail)
    return _failed(status, message, fuel_used)


def deadline(limits: Limits, fuel_used: int = 0) -> Outcome:
    """The outcome of a call that ran out of wall time."""
    return _failed("deadline", f"the program ran longer than {limits.wall_seconds:g} s", fuel_used)


def _failed(status: Status, message: str, fuel_used: int) -> Outcome:
    """An outcome without a value that did not come from an error in the program."""
    return Outcome(status, error=Failure(_TYPES[status], message), fuel_used=fuel_used)


_TYPES: Mapping[Status, str] = {
    "trap": "SandboxTrap",
    "fuel": "OutOfFuel",
    "deadline": "DeadlineExceeded",
    "memory": "MemoryError",
    "output": "OutputError",
    "host": "HostCallLimit",
    "divergence": "Divergence",
}


class _Unsound(Exception):
    """The answer is not what our guest gives by itself, or is beyond a limit."""


def _value(said: bytes, limits: Limits, fuel_used: int) -> Outcome:
    """The outcome of a caller's component, which says its value and nothing else."""
    if len(said) > limits.result_bytes:
        raise _Unsound(f"the result is more than {limits.result_bytes} bytes of JSON, the limit")
    try:
        return Outcome("ok", canonical.parse(said, max_depth=limits.depth), fuel_used=fuel_used)
    except CanonicalError as e:
        raise _Unsound(f"the component's answer is not sound JSON: {e.detail}") from e


def _checked(said: bytes, limits: Limits, fuel_used: int) -> Outcome:
    try:
        envelope = canonical.parse(said, max_depth=max(limits.depth + 1, 3))
    except CanonicalError as e:
        raise _Unsound(f"the program's answer is not sound JSON: {e.detail}") from e
    match envelope:
        case {
            "status": str(claim),
            "value": value,
            "error": error,
            "stdout": str(stdout),
            "stderr": str(stderr),
            "files": files,
            "truncated": bool(truncated),
            **rest,
        } if not rest and claim in _CLAIMS and (claim == "ok") == (error is None):
            failure = None if error is None else _failure(error)
        case _:
            raise _Unsound("the program put something else in place of the sandbox's answer")
    if max(_size(stdout), _size(stderr)) > limits.output_bytes:
        raise _Unsound(f"the program's output is more than {limits.output_bytes} bytes")
    kept = _cut(stdout, limits.stdout_bytes), _cut(stderr, limits.stderr_bytes)
    if failure is None and _size(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) > limits.result_bytes:
        raise _Unsound(f"the result is more than {limits.result_bytes} bytes of JSON, the limit")
    return Outcome(
        status=_CLAIMS[claim],
        value=value if failure is None else None,
        error=failure,
        stdout=kept[0],
        stderr=kept[1],
        files=_files(files, limits) if failure is None else {},
        fuel_used=fuel_used,
        truncated=truncated or kept != (stdout, stderr),
    )


def _failure(error: Any) -> Failure:
    match error:
        case {"type": str(kind), "message": str(message), "traceback": str(traceback), **rest} if not rest:
            if _size(kind) + _size(message) + _size(traceback) <= _ERROR_BYTES:
                return Failure(kind, message, traceback)
        case _:
            pass
    raise _Unsound("the program put something else in place of the sandbox's error")


def _files(encoded: Any, limits: Limits) -> dict[str, bytes]:
    if not isinstance(encoded, dict):
        raise _Unsound("the program put something else in place of its files")
    files: dict[str, bytes] = {}
    left = limits.files_bytes
    for name, text in cast(dict[str, Any], encoded).items():
        if not sound_name(name):
            raise _Unsound(f"the program wrote a file whose name is not a plain relative path: {name[:100]!r}")
        try:
            files[name] = base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError) as e:
            raise _Unsound("the program put something else in place of a file's content") from e
        left -= len(files[name])
        if left < 0:
            raise _Unsound(f"the files the program wrote are more than {limits.files_bytes} bytes together")
    return files


def sound_name(name: str) -> bool:
    """Whether this is a relative path that stays where it is put, on any system."""
    steps = name.split("/")
    return (
        len(name) <= 512
        and name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and all(step not in ("", ".", "..") for step in steps)
    )


def _explain(detail: str) -> str:
    if detail == "prelude":
        return "the program broke what JavaScript itself needs to say its result, or had no memory or stack left for it"
    if detail.startswith("its "):
        return f"the component does not keep to its own interface: {detail}"
    if detail == "stack":
        return "the program nested calls or data too deeply for the sandbox's stack"
    what = next((text for start, text in _SERVICES.items() if detail.startswith(start)), "")
    if detail.startswith("stderr"):  # where Python writes its last words
        return "the interpreter failed: out of memory, or given code that it cannot run"
    if what:
        return f"the program used an operating-system service that this sandbox does not have: {what}"
    return f"the program made the interpreter fail, or used a service that this sandbox does not have ({detail})"


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode("utf-8", "ignore")


def _size(text: str) -> int:
    return len(text.encode())
