"""The process that turns WebAssembly into machine code: it takes half a gigabyte, gives it back, and can be stopped.

`python -I -m servers.tee.sandbox.compile SETTINGS CACHE_DIR` prepares what every worker runs. With `-` as folder it
compiles what it reads from standard input to standard output, locked: a caller's WebAssembly is hostile input.
"""

import json
import lzma
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from servers.tee.sandbox import SandboxError, component, lock
from servers.tee.sandbox.component import SETTINGS, Program, Settings

if TYPE_CHECKING:
    from wasmtime import Engine

MAX_GIVEN = 16 << 20
"""Bytes of a caller's WebAssembly."""
MAX_COMPILED = 256 << 20
_MEMORY, _CPU_SECONDS = 3 << 30, 30  # of the process that compiles a caller's


def prepare(cache_dir: Path, progress: Callable[[str], None], settings: Settings = SETTINGS) -> None:
    """Make sure that sound compiled files are in `cache_dir`. Takes about 10 s the first time.

    Raises `SandboxError` if the folder is not ours alone, or what is to be compiled is not there.
    """
    component.own_folder(cache_dir)
    compiler = component.engine(settings)
    for program in component.ours():
        if not _sound(compiler, program, cache_dir, progress, settings):
            wasm = _python(progress) if program.role == "python" else _javascript()
            progress(f"compiling the sandbox's {program.role} for this machine, once, at most about 10 s")
            path = component.keep(cache_dir, program.sha256, _compiled(compiler, wasm, program.form), settings)
            progress(f"compiled to {path}")


def _sound(
    compiler: "Engine", program: Program, cache_dir: Path, progress: Callable[[str], None], settings: Settings
) -> bool:
    while (path := component.cached(cache_dir, program.sha256, settings)) is not None:
        try:
            component.load(compiler, path, program.form)
        except SandboxError as e:
            progress(f"compiling again: {e}")
            path.unlink(missing_ok=True)
        else:
            return True
    return False


def _python(progress: Callable[[str], None]) -> bytes:
    build = component.shipped()
    progress("unpacking the sandbox's component")
    wasm = lzma.decompress(build.packed)
    if component.digest(wasm) != build.sha256:
        raise SandboxError("component.wasm.xz does not hold the component that provenance.json names: install again")
    return wasm


def _javascript() -> bytes:
    try:
        wasm = Path(str(metadata.distribution("quickjs-rs").locate_file("quickjs_rs/_guest.wasm"))).read_bytes()
    except (metadata.PackageNotFoundError, OSError) as e:
        raise SandboxError(f"the package quickjs-rs is not installed ({e}): install etmcp again") from e
    if component.digest(wasm) != component.JAVASCRIPT:
        raise SandboxError("the package quickjs-rs is not the pinned one: install the version that etmcp names")
    return wasm


def _compiled(compiler: "Engine", wasm: bytes, form: str) -> bytes:
    from wasmtime import Module  # noqa: PLC0415
    from wasmtime.component import Component  # noqa: PLC0415

    return bytes((Component if form == "component" else Module)(compiler, wasm).serialize())


def _given(settings: Settings) -> None:
    """A caller's WebAssembly, from standard input to standard output, after giving up what it does not take."""
    # Here already, since nothing can be loaded once this process is locked.
    from wasmtime import Module, WasmtimeError  # noqa: PLC0415
    from wasmtime.component import Component  # noqa: PLC0415

    wasm = sys.stdin.buffer.read(MAX_GIVEN + 1)
    program = component.given(wasm)
    # One thread: the others could not be locked before they start.
    compiler = component.engine({**settings, "parallel_compilation": False})
    lock.lock_compiler(_MEMORY, _CPU_SECONDS)
    try:
        compiled = (Component if program.form == "component" else Module)(compiler, wasm)
        sys.stdout.buffer.write(compiled.serialize())
        sys.stdout.buffer.flush()
    except WasmtimeError as e:
        sys.exit(f"the component cannot be compiled: {' '.join(str(e).split())[:500]}")


def main() -> None:
    """Progress on standard output, a problem on standard error."""
    lock.die_with_parent()
    settings = json.loads(sys.argv[1])
    try:
        if sys.argv[2] == "-":
            _given(settings)
        else:
            prepare(Path(sys.argv[2]), lambda line: print(line, flush=True), settings)
    except SandboxError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
