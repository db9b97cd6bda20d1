"""WebAssembly on its way to machine code: a checked digest, compiled once (`compile`), checked again, loaded.

The compiled file is native code, so it is taken only from a folder and file of our own user that nobody else may
write, and only if its content has the digest that its name states (which catches damage; the ownership is the guard).
"""

import hashlib
import json
import os
import platform
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from servers.tee.sandbox import SandboxError, lock

if TYPE_CHECKING:
    from wasmtime import Engine, Module
    from wasmtime.component import Component

Settings = Mapping[str, bool | int | str]
"""Of `wasmtime.Config`, by name."""

# What the result or the fuel of a call depends on. The supervisor never loads the engine: workers do.
SETTINGS: Settings = {
    "consume_fuel": True,
    "epoch_interruption": True,
    "cranelift_nan_canonicalization": True,
    "cranelift_opt_level": "speed",
    "wasm_component_model": True,
    "wasm_relaxed_simd": False,
    "wasm_threads": False,
    "max_wasm_stack": 2 << 20,  # the most that the engine takes
}

JAVASCRIPT = "647ab11ae29cc6d39a6d17d3aa1e7a6a0b5fb9c44b4864475a18bc644f926050"
"""Of `_guest.wasm` in the package quickjs-rs: QuickJS-ng. Its Python code is not used."""
_FORMS: Mapping[bytes, Literal["component", "module"]] = {
    b"\0asm\x01\0\0\0": "module",
    b"\0asm\x0d\0\x01\0": "component",
}


@dataclass(frozen=True)
class Program:
    """WebAssembly that a worker runs: ours, by language, or the caller's."""

    role: Literal["python", "javascript", "given"]
    form: Literal["component", "module"]
    sha256: str


@dataclass(frozen=True)
class Build:
    """The shipped component, as its provenance states it."""

    packed: bytes
    sha256: str
    """Of the uncompressed component."""
    packed_sha256: str


def shipped() -> Build:
    """The packed component of this installation. Raises `SandboxError` if it is not there or not what it should be."""
    folder = resources.files("servers.tee.guest")
    try:
        packed = (folder / "component.wasm.xz").read_bytes()
        provenance = json.loads((folder / "provenance.json").read_bytes())
        build = Build(packed, provenance["component"]["sha256"], provenance["component.wasm.xz"]["sha256"])
    except (OSError, ValueError, KeyError) as e:
        raise SandboxError(f"the sandbox's component is not in {folder}: run `make component` ({e})") from e
    if digest(packed) != build.packed_sha256:
        raise SandboxError(f"{folder}/component.wasm.xz is not the file that provenance.json names: install again")
    return build


def ours() -> tuple[Program, Program]:
    """What every worker runs: Python and JavaScript. Raises `SandboxError`, see `shipped`."""
    return Program("python", "component", shipped().sha256), Program("javascript", "module", JAVASCRIPT)


def given(wasm: bytes) -> Program:
    """The caller's own, told apart by its first bytes. Raises `ValueError`."""
    if wasm[:8] not in _FORMS:
        raise ValueError("the component is not WebAssembly: a binary module or component of version 1 is needed")
    return Program("given", _FORMS[wasm[:8]], digest(wasm))


def environment(settings: Settings = SETTINGS) -> dict[str, Any]:
    """What a second party needs to repeat a call, and what locks the process that runs it (JSON)."""
    python, javascript = ours()
    return {
        "tier": "wasm",
        "component": f"sha256:{python.sha256}",
        "javascript": f"sha256:{javascript.sha256}",
        "engine": f"wasmtime {metadata.version('wasmtime')}",
        "settings": dict(settings),
        **lock.promised(),
    }


def engine(settings: Settings = SETTINGS) -> "Engine":
    """A wasmtime engine. Raises `SandboxError` where wasmtime does not load."""
    try:
        from wasmtime import Config, Engine  # noqa: PLC0415  see SETTINGS
    except (ImportError, OSError) as e:
        raise SandboxError(f"wasmtime does not load on this machine ({e}): install it, or use another tier") from e
    config = Config()
    for name, value in settings.items():
        setattr(config, name, value)
    return Engine(config)


def cached(cache_dir: Path, sha256: str, settings: Settings = SETTINGS) -> Path | None:
    """The compiled file for this WebAssembly, engine and machine, if there is one. Its content is not checked here."""
    return min(cache_dir.glob(f"{_prefix(sha256, settings)}-*.cwasm"), default=None)


def keep(cache_dir: Path, sha256: str, compiled: bytes, settings: Settings = SETTINGS) -> Path:
    """Put machine code in the cache, whole or not at all. Raises `SandboxError`."""
    path = cache_dir / f"{_prefix(sha256, settings)}-{digest(compiled)}.cwasm"
    _write(path, compiled)
    return path


def load(engine: "Engine", path: Path, form: Literal["component", "module"] = "component") -> "Component | Module":
    """What was compiled. Raises `SandboxError` if the file is not safe to run or not for this machine."""
    from wasmtime import Module, WasmtimeError  # noqa: PLC0415
    from wasmtime.component import Component  # noqa: PLC0415

    for checked in (path.parent, path):
        _check_owner(checked)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not path.stem.endswith(f"-{digest}"):
        raise SandboxError(f"{path} is damaged: delete it, it will be compiled again")
    try:
        return (Component if form == "component" else Module).deserialize_file(engine, str(path))
    except WasmtimeError as e:
        text = str(e).partition("\n")[0]
        raise SandboxError(f"{path} is not for this machine: delete it, it will be compiled again ({text})") from e


def own_folder(folder: Path) -> None:
    """Make `folder` for this user alone. Raises `SandboxError` if it cannot be, or is another's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise SandboxError(f"cannot make the sandbox's cache {folder}: {e.strerror}; choose another cache_dir") from e
    _check_owner(folder)


def _prefix(sha256: str, settings: Settings) -> str:
    text = json.dumps([dict(settings), platform.system(), platform.machine()], sort_keys=True)
    return f"{sha256[:32]}-wasmtime-{metadata.version('wasmtime')}-{digest(text.encode())[:16]}"


def _check_owner(path: Path) -> None:
    if os.name != "posix":
        return  # the folder is in the user's profile, which others cannot write by default
    try:
        found = path.lstat()
    except OSError as e:
        raise SandboxError(f"cannot read {path}: {e.strerror}") from e
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SandboxError(f"{path} must belong to this user alone (no symlink, mode 0600, folder 0700): it is code")


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".compiling-")
    try:
        with os.fdopen(handle, "wb") as file:  # mkstemp made it 0600
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as e:
        Path(name).unlink(missing_ok=True)
        raise SandboxError(f"cannot write {path}: {e.strerror}") from e


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()
