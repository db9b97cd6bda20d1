"""The files of one call, in memory: a tree of names, and `open` over it."""

import errno
import io
import os
import posixpath
from typing import Any

HOME = "/work"
"""Where the files of the call are, and the working directory at the start."""
SCRATCH = "/tmp"  # noqa: S108  a name in memory

_SHOWN = 8  # names of files listed in an error


class Node:
    """One file. It outlives its name, as an unlinked file does."""

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = bytearray(data)


class Tree:
    """Absolute names to files, and the directories that hold them. One per call."""

    def __init__(self) -> None:
        self.start({})

    def start(self, files: dict[str, bytes]) -> None:
        """Begin with `files` (relative names) and their directories."""
        self.cwd = HOME
        self.directories = {"/", HOME, SCRATCH}
        self.files: dict[str, Node] = {}
        self._given = {posixpath.normpath(f"{HOME}/{name}"): data for name, data in files.items()}
        self._opened: list[io.IOBase] = []
        self._numbers = 1
        for path, data in self._given.items():
            self.files[path] = self.node(data)
            parent = posixpath.dirname(path)
            while parent not in self.directories:
                self.directories.add(parent)
                parent = posixpath.dirname(parent)

    def node(self, data: bytes = b"") -> Node:
        self._numbers += 1
        return Node(self._numbers, data)

    def changed(self) -> dict[str, bytes]:
        """The files below `HOME` made or changed since `start`, under relative names."""
        for opened in self._opened:
            if not opened.closed:
                opened.flush()
        return {
            path.removeprefix(f"{HOME}/"): bytes(node.data)
            for path, node in sorted(self.files.items())
            if path.startswith(f"{HOME}/") and self._given.get(path) != node.data
        }

    def path(self, name: Any) -> str:
        """The absolute form of any path a caller may pass."""
        if isinstance(name, int):
            raise OSError(errno.EBADF, "file descriptors do not exist in this sandbox", name)
        text = os.fsdecode(name)
        if "\0" in text:
            raise ValueError("embedded null byte")
        if not text:
            raise self.missing(name)
        path = posixpath.normpath(posixpath.join(self.cwd, text))
        return path[1:] if path.startswith("//") else path

    def missing(self, name: Any) -> FileNotFoundError:
        names = [path.removeprefix(f"{HOME}/") for path in sorted(self.files)]
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        text = f"No such file or directory (this sandbox sees only the files passed with the call: {shown or 'none'})"
        return FileNotFoundError(errno.ENOENT, text, name)

    def get(self, name: Any) -> Node:
        path = self.path(name)
        if path in self.directories:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", name)
        if path not in self.files:
            raise self.missing(name)
        return self.files[path]

    def make(self, name: Any) -> Node:
        """The file of that name, made if it is not there."""
        path = self.path(name)
        if path not in self.files and path not in self.directories:
            if posixpath.dirname(path) not in self.directories:
                raise FileNotFoundError(errno.ENOENT, "No such directory: make it first", name)
            self.files[path] = self.node()
        return self.get(name)

    def open(  # the signature of the built-in
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """As the built-in `open`; text is UTF-8 unless told otherwise."""
        kinds, binary, update = set(mode) & set("rwax"), "b" in mode, "+" in mode
        if set(mode) - set("rwaxbt+") or len(kinds) != 1 or len(set(mode)) != len(mode) or (binary and "t" in mode):
            raise ValueError(f"invalid mode: {mode!r}")
        if binary and (encoding is not None or errors is not None or newline is not None):
            raise ValueError("binary mode doesn't take an encoding, errors or newline argument")
        if buffering == 0 and not binary:
            raise ValueError("can't have unbuffered text I/O")
        if opener is not None or not closefd:
            raise OSError(errno.ENOTSUP, "open() takes neither opener nor closefd in this sandbox", file)
        kind = kinds.pop()
        if kind == "x" and (self.path(file) in self.files or self.path(file) in self.directories):
            raise FileExistsError(errno.EEXIST, "File exists", file)
        node = self.get(file) if kind == "r" else self.make(file)
        if kind == "w":
            node.data.clear()
        raw = MemoryFile(node, file, mode if binary else mode.replace("t", "") + "b", append=kind == "a")
        if buffering == 0:
            return raw
        opened: Any
        if update:
            opened = io.BufferedRandom(raw)
        elif kind == "r":
            opened = io.BufferedReader(raw)
        else:
            opened = io.BufferedWriter(raw)
        if not binary:
            chosen = None if encoding in (None, "locale") else encoding
            opened = io.TextIOWrapper(opened, chosen or "utf-8", errors, newline, line_buffering=buffering == 1)
            opened.mode = mode
        if kind != "r" or update:
            self._opened.append(opened)
        return opened


class MemoryFile(io.RawIOBase):
    """An unbuffered binary file over a `Node`."""

    def __init__(self, node: Node, name: Any, mode: str, *, append: bool) -> None:
        self.name = name
        self.mode = mode
        self._node = node
        self._append = append
        self._reads = "r" in mode or "+" in mode
        self._writes = "r" not in mode or "+" in mode
        self._at = len(node.data) if append else 0

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._reads:
            raise io.UnsupportedOperation("not readable")
        view = memoryview(buffer).cast("B")
        part = self._node.data[self._at : self._at + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def write(self, buffer: Any) -> int:
        if not self._writes:
            raise io.UnsupportedOperation("not writable")
        part = bytes(buffer)
        data = self._node.data
        at = len(data) if self._append else self._at
        if at > len(data):
            data.extend(bytes(at - len(data)))
        data[at : at + len(part)] = part
        self._at = at + len(part)
        return len(part)

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, len(self._node.data))[whence]
        if at < 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        if not self._writes:
            raise io.UnsupportedOperation("truncate")
        data = self._node.data
        wanted = self._at if size is None else size
        del data[wanted:]
        data.extend(bytes(wanted - len(data)))
        return wanted


TREE = Tree()
