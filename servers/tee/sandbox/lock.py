"""What a process of the WebAssembly tier gives up for good before a program of the caller's runs in it.

A second wall: a program that broke out of WebAssembly would be in a process that can open, start and connect nothing.
Each part that a machine does not have is said in `Sandbox.environment`, with the reason.
"""

import ctypes
import hashlib
import os
import platform
import signal
import sys
from collections.abc import Mapping

# At once, since a locked process can load nothing more.
if os.name == "posix":
    import resource
if sys.platform == "linux":
    from servers.tee.process import landlock, seccomp

_PR_GET_SECCOMP, _PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 21, 1, 38


def promised() -> Mapping[str, str]:
    """What `lock` does on this machine: the digest of the filter, the interface of Landlock, or `none: why not`.

    A worker that says anything else of itself is not used.
    """
    if sys.platform != "linux":
        why = f"none: {platform.system()} does not have it"
        return {"seccomp": why, "landlock": why}
    version = landlock.abi()
    told = {"landlock": f"abi {version}" if version else "none: this kernel has it not, or not switched on"}
    if ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) < 0:
        return told | {"seccomp": "none: this kernel is built without it"}
    try:
        text = seccomp.program("wasm_worker", platform.machine())
    except ValueError as e:
        return told | {"seccomp": f"none: {e}"}
    return told | {"seccomp": f"sha256:{hashlib.sha256(text).hexdigest()}"}


def die_with_parent() -> None:
    """The kernel kills this process when its supervisor goes, even in the middle of a program. Before any thread."""
    if sys.platform != "linux":
        return  # end of standard input, seen between two jobs, has to do
    parent = os.getppid()
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # of this thread and those it starts
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it went before the call
        os._exit(0)


def close_files() -> None:
    """No path can be opened any more, where there is Landlock, by this thread and those that it starts from here on."""
    if not promised()["landlock"].startswith("none"):
        landlock.restrict()


def lock(promise: Mapping[str, str]) -> None:
    """No file, socket, thread, process or machine code can be made any more, by any thread of this process.

    Raises `OSError` if the kernel refuses, or if this process finds another lock than its supervisor `promised`.
    """
    bound(core=0, file=0)
    if promise != promised():
        raise OSError(0, f"promised {promise}, found {promised()}")
    if promise["seccomp"].startswith("none"):
        return
    seccomp.install(seccomp.program("wasm_worker", platform.machine()))


def lock_compiler(memory_bytes: int, cpu_seconds: int) -> None:
    """For a process that compiles what a caller gave: machine code it must make, all else it gives up.

    Raises `OSError` if the kernel refuses.
    """
    bound(core=0, file=0, memory=memory_bytes, cpu=cpu_seconds)
    close_files()
    if not promised()["seccomp"].startswith("none"):
        seccomp.install(seccomp.program("python", platform.machine()))


def bound(**limits: int) -> None:
    """Lower limits of this process: `core`, `file`, `memory` in bytes, `cpu` in seconds; where there are such."""
    if os.name != "posix":
        return
    names = {
        "core": resource.RLIMIT_CORE,
        "file": resource.RLIMIT_FSIZE,
        "memory": resource.RLIMIT_AS,
        "cpu": resource.RLIMIT_CPU,
    }
    for name, value in limits.items():
        _, most = resource.getrlimit(names[name])
        resource.setrlimit(names[name], (value, value) if most < 0 or value <= most else (most, most))
