"""The guest component on its way to machine code: packed file, checked digest, compiled once, checked again.

The compiled file is native code, so it is taken only from a folder and file of our own user that nobody else may
write, and only if its content has the digest that its name states (which catches damage; the ownership is the guard).
"""

import hashlib
import json
import lzma
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from servers.tee.sandbox import SandboxError

if TYPE_CHECKING:
    from wasmtime import Engine
    from wasmtime.component import Component

# What the result or the fuel of a call depends on. The supervisor never loads the engine: workers do.
SETTINGS: Mapping[str, bool | int | str] = {
    "consume_fuel": True,
    "epoch_interruption": True,
    "cranelift_nan_canonicalization": True,
    "cranelift_opt_level": "speed",
    "wasm_component_model": True,
    "wasm_relaxed_simd": False,
    "wasm_threads": False,
    "max_wasm_stack": 2 << 20,
}

Codegen = Literal["speed", "none", "interpreter"]
CODEGENS: Mapping[Codegen, Mapping[str, str]] = {
    "speed": {},
    "none": {"cranelift_opt_level": "none"},
    "interpreter": {"target": "pulley64"},
}
"""How instructions are carried out: by optimised machine code, by plain machine code, or by wasmtime's interpreter.
No result and no fuel depends on it, so a second one finds what the first gets wrong."""


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
    if _sha256(packed) != build.packed_sha256:
        raise SandboxError(f"{folder}/component.wasm.xz is not the file that provenance.json names: install again")
    return build


def settings(codegen: Codegen = "speed") -> dict[str, bool | int | str]:
    """All settings of an engine."""
    return {**SETTINGS, **CODEGENS[codegen]}


def environment(sha256: str, codegen: Codegen = "speed") -> dict[str, Any]:
    """What a second party needs to repeat a call (JSON)."""
    return {
        "tier": "wasm",
        "component": f"sha256:{sha256}",
        "engine": f"wasmtime {metadata.version('wasmtime')}",
        "settings": settings(codegen),
    }


def engine(codegen: Codegen = "speed") -> "Engine":
    """A wasmtime engine with these `settings`. Raises `SandboxError` where wasmtime does not load."""
    try:
        from wasmtime import Config, Engine  # noqa: PLC0415  see SETTINGS
    except (ImportError, OSError) as e:
        raise SandboxError(f"wasmtime does not load on this machine ({e}): install it, or use another tier") from e
    config = Config()
    for name, value in settings(codegen).items():
        setattr(config, name, value)
    return Engine(config)


def cached(cache_dir: Path, sha256: str, codegen: Codegen = "speed") -> Path | None:
    """The compiled file for this component, engine and machine, if there is one. Its content is not checked here."""
    return min(cache_dir.glob(f"{_prefix(sha256, codegen)}-*.cwasm"), default=None)


def load(engine: "Engine", path: Path) -> "Component":
    """The compiled component. Raises `SandboxError` if the file is not safe to run or not for this machine."""
    from wasmtime import WasmtimeError  # noqa: PLC0415
    from wasmtime.component import Component  # noqa: PLC0415

    for checked in (path.parent, path):
        _check_owner(checked)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not path.stem.endswith(f"-{digest}"):
        raise SandboxError(f"{path} is damaged: delete it, it will be compiled again")
    try:
        return Component.deserialize_file(engine, str(path))
    except WasmtimeError as e:
        text = str(e).partition("\n")[0]
        raise SandboxError(f"{path} is not for this machine: delete it, it will be compiled again ({text})") from e


def prepare(cache_dir: Path, progress: Callable[[str], None], codegen: Codegen = "speed") -> Path:
    """Make sure that a sound compiled file is in `cache_dir`, and return it. Takes about 10 s the first time.

    Raises `SandboxError` if the folder is not ours alone, or the component is not there.
    """
    own_folder(cache_dir)
    build = shipped()
    compiler = engine(codegen)
    prefix = _prefix(build.sha256, codegen)
    for path in sorted(cache_dir.glob(f"{prefix}-*.cwasm")):
        try:
            load(compiler, path)
        except SandboxError as e:
            progress(f"compiling again: {e}")
            path.unlink(missing_ok=True)
        else:
            return path
    from wasmtime.component import Component  # noqa: PLC0415

    progress("unpacking the sandbox's component")
    wasm = lzma.decompress(build.packed)
    if _sha256(wasm) != build.sha256:
        raise SandboxError("component.wasm.xz does not hold the component that provenance.json names: install again")
    progress("compiling the sandbox's component for this machine, once, about 10 s")
    compiled = bytes(Component(compiler, wasm).serialize())
    path = cache_dir / f"{prefix}-{_sha256(compiled)}.cwasm"
    _write(path, compiled)
    progress(f"compiled to {path}")
    return path


def own_folder(folder: Path) -> None:
    """Make `folder` for this user alone. Raises `SandboxError` if it cannot be, or is another's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise SandboxError(f"cannot make the sandbox's cache {folder}: {e.strerror}; choose another cache_dir") from e
    _check_owner(folder)


def _prefix(sha256: str, codegen: Codegen) -> str:
    machine = json.dumps([settings(codegen), platform.system(), platform.machine()], sort_keys=True)
    return f"{sha256[:16]}-wasmtime-{metadata.version('wasmtime')}-{_sha256(machine.encode())[:16]}"


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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    """Prepare the folder for the code generator, as the command line says; a problem goes to standard error."""
    try:
        prepare(Path(sys.argv[1]), lambda line: print(line, flush=True), cast(Codegen, sys.argv[2]))
    except SandboxError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
