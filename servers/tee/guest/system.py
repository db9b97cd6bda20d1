"""The `os` module over the files in memory; every other service of it is refused with a clear Python error."""

import _thread
import builtins
import errno
import io
import os
import posix
import posixpath
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from guest.files import SCRATCH, TREE
from guest.rebind import rebind

# Functions of `posix` that compute, or answer from constants.
_KEPT = {
    "_path_normpath",
    "_path_splitroot_ex",
    "cpu_count",
    "fspath",
    "getpid",
    "putenv",
    "strerror",
    "uname",
    "unsetenv",
    "urandom",
}


def _stat(name: Any, *, dir_fd: Any = None, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG001
    path = TREE.path(name)
    if path in TREE.directories:
        return os.stat_result((stat.S_IFDIR | 0o755, 1 + len(path), 0, 1, 0, 0, 0, 0, 0, 0))
    node = TREE.get(name)
    return os.stat_result((stat.S_IFREG | 0o644, node.number << 16, 0, 1, 0, 0, len(node.data), 0, 0, 0))


def _lstat(name: Any, *, dir_fd: Any = None) -> os.stat_result:  # noqa: ARG001
    return _stat(name)


def _directory(name: Any) -> str:
    path = TREE.path("." if name is None else name)
    if path in TREE.files:
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", name)
    if path not in TREE.directories:
        raise TREE.missing(name)
    return path


def _listdir(name: Any = None) -> list[str]:
    path = _directory(name)
    names = {p for p in (*TREE.files, *TREE.directories) if p != "/" and posixpath.dirname(p) == path}
    return sorted(posixpath.basename(p) for p in names)


class _Entry:
    """As `os.DirEntry`."""

    def __init__(self, parent: str, name: str) -> None:
        self.name = name
        self.path = posixpath.join(parent, name)

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        return _stat(self.path).st_ino

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        return TREE.path(self.path) in TREE.directories

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        return TREE.path(self.path) in TREE.files

    def is_symlink(self) -> bool:
        return False

    def is_junction(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002
        return _stat(self.path)


class _Scan:
    """As what `os.scandir` returns: an iterator that is a context manager."""

    def __init__(self, name: Any = None) -> None:
        parent = "." if name is None else os.fsdecode(name)
        self._entries: Iterator[_Entry] = iter([_Entry(parent, n) for n in _listdir(name)])

    def __iter__(self) -> Iterator[_Entry]:
        return self

    def __next__(self) -> _Entry:
        return next(self._entries)

    def __enter__(self) -> "_Scan":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def _mkdir(name: Any, mode: int = 0o777, *, dir_fd: Any = None) -> None:  # noqa: ARG001
    path = TREE.path(name)
    if path in TREE.files or path in TREE.directories:
        raise FileExistsError(errno.EEXIST, "File exists", name)
    if posixpath.dirname(path) not in TREE.directories:
        raise FileNotFoundError(errno.ENOENT, "No such directory: make its parent first", name)
    TREE.directories.add(path)


def _rmdir(name: Any, *, dir_fd: Any = None) -> None:  # noqa: ARG001
    path = _directory(name)
    if _listdir(name) or path == "/":
        raise OSError(errno.ENOTEMPTY, "Directory not empty", name)
    TREE.directories.remove(path)


def _remove(name: Any, *, dir_fd: Any = None) -> None:  # noqa: ARG001
    TREE.get(name)
    del TREE.files[TREE.path(name)]


def _replace(source: Any, target: Any, **_: Any) -> None:
    old, new = TREE.path(source), TREE.path(target)
    _stat(source)
    if posixpath.dirname(new) not in TREE.directories:
        raise FileNotFoundError(errno.ENOENT, "No such directory: make it first", target)
    if new in TREE.directories:
        raise IsADirectoryError(errno.EISDIR, "Is a directory", target)
    if old in TREE.files:
        TREE.files[new] = TREE.files.pop(old)
        return
    if new in TREE.files or f"{new}/".startswith(f"{old}/"):
        raise OSError(errno.EINVAL, "Cannot move a directory there", target)

    def moved(path: str) -> str:
        return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path

    TREE.files = {moved(path): node for path, node in TREE.files.items()}
    TREE.directories = {moved(path) for path in TREE.directories}


def _chdir(name: Any) -> None:
    TREE.cwd = _directory(name)


def _access(name: Any, mode: int, **_: Any) -> bool:
    path = TREE.path(name)
    return path in TREE.directories or (path in TREE.files and not mode & os.X_OK)


def _readlink(name: Any, *, dir_fd: Any = None) -> str:  # noqa: ARG001
    _stat(name)
    raise OSError(errno.EINVAL, "Not a symbolic link", name)


def _truncate(name: Any, length: int) -> None:
    with TREE.open(name, "r+b") as file:
        file.truncate(length)


def _utime(name: Any, *_: Any, **__: Any) -> None:
    _stat(name)


_OVER_TREE: dict[str, Callable[..., Any]] = {
    "access": _access,
    "chdir": _chdir,
    "chmod": _utime,  # there are no permissions: only the name is checked
    "getcwd": lambda: TREE.cwd,
    "getcwdb": lambda: os.fsencode(TREE.cwd),
    "isatty": lambda _fd: False,
    "listdir": _listdir,
    "lstat": _lstat,
    "mkdir": _mkdir,
    "readlink": _readlink,
    "remove": _remove,
    "rename": _replace,
    "replace": _replace,
    "rmdir": _rmdir,
    "scandir": _Scan,
    "stat": _stat,
    "truncate": _truncate,
    "unlink": _remove,
    "utime": _utime,
}


def _refuse(service: str, error: type[Exception] = OSError) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        text = f"{service} does not exist in this sandbox: no processes, threads, sockets or file descriptors"
        raise error(errno.ENOSYS, text) if error is OSError else error(text)

    return refused


class _NoFileIO(io.RawIOBase):
    """In place of `io.FileIO`, which would reach for a real file."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("io.FileIO")()


def _no_real_open(event: str, args: tuple[Any, ...]) -> None:
    """What still opens a file by itself, as the compiler does to quote a line in a SyntaxError, finds none."""
    if event == "open":
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(args[0]))


def install() -> None:
    """Replace what reaches for an operating system, in every loaded module."""
    replacements: dict[Any, Any] = {}
    for name, value in vars(posix).items():
        if callable(value) and not isinstance(value, type) and name not in _KEPT:
            replacements[value] = _OVER_TREE.get(name) or _refuse(f"os.{name}")
    for name in ("system", "popen"):  # absent in this build of Python, but what a program will try
        setattr(os, name, _refuse(f"os.{name}"))
    for name in ("start_new_thread", "start_joinable_thread"):
        replacements[getattr(_thread, name)] = _refuse("starting a thread", RuntimeError)
    replacements[builtins.open] = TREE.open
    replacements[io.open_code] = lambda path: TREE.open(path, "rb")
    replacements[io.FileIO] = _NoFileIO
    rebind(replacements)
    sys.addaudithook(_no_real_open)
    os.environ.clear()
    shutil._use_fd_functions = False
    shutil._USE_CP_SENDFILE = False
    tempfile.tempdir = SCRATCH
