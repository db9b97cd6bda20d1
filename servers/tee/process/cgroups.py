"""Control groups of versions 1 and 2: one group a sandbox, for its memory and its number of processes.

Where none can be made, `Groups.missing` says why, and the sandbox's environment passes it on.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from servers.tee.process import Bounds

_OURS = re.compile(r"etmcp-(\d+)-[0-9a-f]+")
_CONTROLLERS = ("memory", "pids")


@dataclass(frozen=True)
class Group:
    """The group of one sandbox; `folders` is one in version 2, one a controller in version 1."""

    folders: tuple[Path, ...]

    def add(self, process: int) -> None:
        """Move a process in. Raises `OSError`."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(process))

    def peak_bytes(self) -> int:
        """The most memory at once; 0 where the kernel does not say."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            for folder in self.folders:
                with suppress(OSError, ValueError):
                    return int((folder / name).read_text())
        return 0

    def out_of_memory(self) -> bool:
        """Whether the kernel killed one in it for lack of memory."""
        for name in ("memory.oom_control", "memory.events"):
            for folder in self.folders:
                with suppress(OSError):
                    found = re.search(r"^oom_kill (\d+)", (folder / name).read_text(), re.MULTILINE)
                    return found is not None and int(found[1]) > 0
        return False

    def remove(self) -> None:
        """Once it is empty."""
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


@dataclass(frozen=True)
class Groups:
    """Where groups can be made: below these folders, which are the fork server's own."""

    folders: tuple[Path, ...]
    version: int
    """1 or 2; 0 where none can be made."""
    missing: str
    """Why not; empty if they can."""

    def make(self, name: str, bounds: Bounds) -> Group:
        """A group with its limits. Raises `OSError`."""
        made = Group(tuple(folder / name for folder in self.folders))
        try:
            for folder in made.folders:
                folder.mkdir()
                self._limit(folder, bounds)
        except OSError:
            made.remove()
            raise
        return made

    def _limit(self, folder: Path, bounds: Bounds) -> None:
        if (folder / "pids.max").exists():
            (folder / "pids.max").write_text(str(bounds.processes))
        if self.version == 2:
            (folder / "memory.max").write_text(str(bounds.memory_bytes))
            unswapped = (("memory.swap.max", 0), ("memory.oom.group", 1))
        else:
            if (folder / "memory.limit_in_bytes").exists():
                (folder / "memory.limit_in_bytes").write_text(str(bounds.memory_bytes))
            unswapped = (("memory.memsw.limit_in_bytes", bounds.memory_bytes),)
        for name, value in unswapped:
            if (folder / name).exists():  # a kernel without swap accounting has it not
                (folder / name).write_text(str(value))


def find(tag: str) -> Groups:
    """Folders for a fork server called `tag`, in the first place that allows them. Removes those of the dead."""
    reasons: list[str] = []
    for version, parents in _candidates():
        made: list[Path] = []
        try:
            for parent in parents:
                _sweep(parent)
                folder = parent / f"etmcp-{os.getpid()}-{tag}"
                folder.mkdir()
                made.append(folder)
                if version == 2:
                    (folder / "cgroup.subtree_control").write_text("+memory +pids")
        except OSError as e:
            reasons.append(f"{e.filename or parents[0]}: {e.strerror}")
            remove(made)
            continue
        return Groups(tuple(made), version, "")
    return Groups((), 0, "no control group may be made: " + ("; ".join(reasons[:3]) or "none is mounted"))


def remove(folders: tuple[Path, ...] | list[Path]) -> bool:
    """Remove a fork server's folders and what is left below them. False while a process is still in one."""
    for folder in folders:
        for group in _below(folder):
            with suppress(OSError):
                group.rmdir()
        with suppress(OSError):
            folder.rmdir()
    return not any(folder.exists() for folder in folders)


def _below(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _sweep(parent: Path) -> None:
    """Empty folders of fork servers that were killed together with their supervisor."""
    for folder in _below(parent):
        found = _OURS.fullmatch(folder.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            remove([folder])


def _candidates() -> Iterator[tuple[int, tuple[Path, ...]]]:
    """Versions and parent folders to try: the process' own group first, then what is above it."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    places: dict[str, str] = {}
    unified = ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            unified = unified or place
        elif kind == "cgroup":
            places |= {name: place for name in _CONTROLLERS if name in options.split(",")}
    if unified:
        path = Path(own.get("", "/"))
        for step in (path, *path.parents):
            folder = Path(unified + str(step))
            with suppress(OSError):
                if set(_CONTROLLERS) <= set((folder / "cgroup.subtree_control").read_text().split()):
                    yield 2, (folder,)
    if all(name in places for name in _CONTROLLERS):
        # Two controllers mounted together have one folder.
        yield 1, tuple(dict.fromkeys(Path(places[name] + own.get(name, "/")) for name in _CONTROLLERS))
