"""A function's folder: read without following links, within bounds, and hashed in a fixed order."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attest.canonical import canonical
from attest.encoding import length_prefixed, sha256_hex
from servers.tee.library import FunctionError
from servers.tee.library.function import FILE, Function, read
from servers.tee.library.schema import Schema
from servers.tee.policy import BadPolicy, Policy, read_unsigned

MAX_FILES = 32
MAX_BYTES = 32 << 20
"""All files of one function together."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_IGNORED = "__pycache__"  # an installer's; never read
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Entry:
    """A sound function with its files. `digest` covers all of them, hex."""

    function: Function
    files: Mapping[str, bytes]
    digest: str
    input: Schema
    output: Schema
    policy: Policy
    """What it asks for; see `Function.policy`."""


def load(folder: Path) -> Entry:
    """The function in a folder. Raises `FunctionError`."""
    files = _files(folder)
    if FILE not in files:
        raise FunctionError(f"{folder}: it has no {FILE}; a function is a folder with one")
    return entry(files)


def entry(files: Mapping[str, bytes]) -> Entry:
    """The function that these files are. Raises `FunctionError`."""
    function = read(files[FILE])
    rest = {name: data for name, data in files.items() if name != FILE}
    if function.digest is not None and function.digest != digest(rest):
        raise FunctionError(f"{FILE}: digest says {function.digest[:12]}…, its files are {digest(rest)[:12]}…")
    for name in [*filter(None, [function.program.file]), *function.program.data]:
        if name not in rest:
            raise FunctionError(f"{FILE}: program names the file {name}, which is not in the folder")
    if function.program.file is not None and function.program.language != "wasm":
        try:
            rest[function.program.file].decode()
        except UnicodeDecodeError as e:
            raise FunctionError(f"{function.program.file}: a program is text in UTF-8") from e
    arguments = Schema(function.input, f"{FILE}: input", arguments=True)
    return Entry(
        function, files, digest(files), arguments, Schema(function.output, f"{FILE}: output"), _policy(function)
    )


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order of the names' bytes, hex."""
    pairs = [part for name in sorted(files) for part in (name.encode(), files[name])]
    return sha256_hex(length_prefixed(b"etmcp/function/v1", *pairs))


def signature(folder: Path) -> tuple[object, ...]:
    """What changes whenever a file of the folder does, without reading any: names, sizes, times, inodes."""
    try:
        with os.scandir(folder) as found:
            each = [(item.name, item.stat(follow_symlinks=False)) for item in found]
    except OSError as e:
        return (e.errno,)
    return tuple(sorted((name, s.st_size, s.st_mtime_ns, s.st_ino, s.st_mode) for name, s in each if name != _IGNORED))


def _policy(function: Function) -> Policy:
    document = {"kind": "execution", "version": 1, "tier": function.tier} | function.policy
    try:
        policy = read_unsigned(canonical(document))
    except BadPolicy as e:
        raise FunctionError(f"{FILE}: policy: {e}") from e
    program = function.program
    for name in program.host_calls:  # it would be refused at every call, as if the operator had not granted it
        if name not in policy.host_calls:
            raise FunctionError(f"{FILE}: policy: hostCalls lacks {name!r}, which program.host_calls needs")
    if program.host_calls and program.reach == "named" and not policy.network.rules:
        raise FunctionError(f'{FILE}: policy: network has no rule; name the hosts, or say program.reach = "granted"')
    return policy


def _files(folder: Path) -> dict[str, bytes]:
    try:
        if folder.is_symlink():
            raise FunctionError(f"{folder}: it is a link; a function is a folder of its own")
        names = sorted(name for name in os.listdir(folder) if name != _IGNORED)  # noqa: PTH208 - names alone
        if len(names) > MAX_FILES:
            raise FunctionError(f"{folder}: it has more than {MAX_FILES} files")
        files: dict[str, bytes] = {}
        for name in names:
            if not _NAME.fullmatch(name):
                raise FunctionError(f"{folder}: {name[:64]!r} is no name for a file of a function")
            files[name] = _file(folder / name, MAX_BYTES - sum(map(len, files.values())))
    except OSError as e:
        raise FunctionError(f"{e.filename or folder}: {e.strerror}") from e
    return files


def _file(path: Path, most: int) -> bytes:
    if path.is_symlink():
        raise FunctionError(f"{path}: it is a link; a function has regular files only")
    descriptor = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FunctionError(f"{path}: it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise FunctionError(f"{path}: with it the function has more than {MAX_BYTES >> 20} MiB")
    return data
