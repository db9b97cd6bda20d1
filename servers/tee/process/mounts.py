"""The file system of a sandbox: a read-only skeleton of the host, and on top of it memory of its own."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from servers.tee.process import HOME, SCRATCH, Bounds, Mount, kernel

SKELETON = "/sys/class"
"""Where the skeleton is mounted in the fork server's own mount namespace: a directory that every Linux has."""

PACKAGES = "/packages"
"""Below it, by number, the package directories of the fork server."""

_SAFE = kernel.NO_SUID | kernel.NO_DEVICES
_TOP = ("bin", "sbin", "lib", "lib64")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1",
          "dev/stderr": "/proc/self/fd/2", "dev/shm": SCRATCH, "work": HOME[1:]}  # fmt: skip
_FILES = {
    "etc/passwd": "tool:x:1000:1000:tool:/tmp/work:/usr/sbin/nologin\n",
    "etc/group": "tool:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def host_view() -> None:
    """A mount namespace of this process' own, from which nothing spreads. Raises `OSError`."""
    kernel.unshare(kernel.NEW_MOUNTS)
    kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.PRIVATE)


def build_skeleton(prefix: Path, packages: Sequence[Path]) -> None:
    """Mount the skeleton with the host's programs, the interpreter in `prefix` and `packages`. Raises `OSError`.

    Of the host's `/etc` it has nothing, of its devices five harmless ones.
    """
    root = _new_root()
    for name in _TOP:
        host = Path("/") / name
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
        elif host.is_dir():
            _show(str(host), root / name)
    _show("/usr", root / "usr")
    if not prefix.is_relative_to("/usr"):
        _show(str(prefix), root / prefix.relative_to("/"))
    for number, package in enumerate(packages):
        _show(str(package), root / PACKAGES[1:] / str(number))
    for name in _DEVICES:
        (root / "dev" / name).touch()
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", None, kernel.BIND)
    _close(root)


def enter(bounds: Bounds, mounts: Sequence[tuple[Mount, int]]) -> None:
    """Make the skeleton, with `mounts` (each with its source opened), this process' root. Raises `OSError`.

    The host's tree is gone from its mount namespace afterwards. The process must be the first of a PID namespace.
    """
    if mounts:
        _extend(mounts)
    else:
        kernel.mount(SKELETON, SKELETON, None, kernel.BIND | kernel.RECURSIVE)
    os.chdir(SKELETON)
    size = f"mode=1777,size={bounds.scratch_bytes},nr_inodes={bounds.scratch_inodes}"
    kernel.mount("tmpfs", SCRATCH[1:], "tmpfs", _SAFE | kernel.NO_EXEC, size)
    kernel.mount("proc", "proc", "proc", _SAFE | kernel.NO_EXEC, "hidepid=2,subset=pid")
    kernel.syscall("pivot_root", b".", b".")
    kernel.detach(".")
    os.mkdir(HOME, 0o700)  # noqa: PTH102
    os.chdir(HOME)


def _new_root() -> Path:
    kernel.mount("tmpfs", SKELETON, "tmpfs", _SAFE, "mode=0755,size=256k,nr_inodes=512")
    root = Path(SKELETON)
    for name in ("dev", "etc", "proc", "tmp"):
        (root / name).mkdir(mode=0o755)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    return root


def _extend(mounts: Sequence[tuple[Mount, int]]) -> None:
    """A skeleton of this sandbox' own: what the fork server's shows, and `mounts`."""
    shared = os.open(SKELETON, os.O_PATH | os.O_CLOEXEC)
    root = _new_root()
    try:
        _repeat(Path(f"/proc/self/fd/{shared}"), root, [mount.target[1:] for mount, _ in mounts])
        for mount, opened in sorted(mounts, key=lambda pair: pair[0].target):
            runs = not mount.writable if mount.executable is None else mount.executable
            _show(f"/proc/self/fd/{opened}", root / mount.target[1:], writable=mount.writable, runs=runs)
    finally:
        os.close(shared)
    _close(root)


def _repeat(shared: Path, root: Path, targets: Sequence[str], below: str = "") -> None:
    """Show what the fork server's skeleton shows; a directory that a target lies in is made anew, with room for it."""
    for source in sorted((shared / below).iterdir()):
        name = f"{below}/{source.name}".lstrip("/")
        place = root / name
        if name == "dev":
            for device in _DEVICES:
                (place / device).touch()
                kernel.mount(f"{source}/{device}", f"{place}/{device}", None, kernel.BIND)
        elif source.is_symlink():
            with suppress(FileExistsError):
                place.symlink_to(source.readlink())
        elif any(target.startswith(f"{name}/") for target in targets) and source.is_dir() and name != "etc":
            place.mkdir(mode=0o755, exist_ok=True)
            _repeat(shared, root, targets, name)
        elif not place.exists():
            place.mkdir() if source.is_dir() else place.touch()
            kernel.mount(str(source), str(place), None, kernel.BIND | kernel.RECURSIVE)


def _show(source: str, place: Path, *, writable: bool = False, runs: bool = True) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):  # noqa: PTH112
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    kernel.mount(source, str(place), None, kernel.BIND | kernel.RECURSIVE)
    flags = _SAFE | (0 if writable else kernel.READ_ONLY) | (0 if runs else kernel.NO_EXEC)
    kernel.restrict_mounts(str(place), flags)


def _close(root: Path) -> None:
    kernel.mount(None, str(root), None, kernel.BIND | kernel.REMOUNT | kernel.READ_ONLY | _SAFE)
