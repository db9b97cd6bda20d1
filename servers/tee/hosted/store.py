"""Installed packages on disk: one folder a tree, named by its digest, and a note of which tree a name means."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from attest.encoding import sha256_hex
from servers.tee.hosted import HostedError, Wanted
from servers.tee.hosted.digest import tree_digest


@dataclass(frozen=True)
class Note:
    """What was installed for one name."""

    wanted: str
    version: str
    lock: str
    """SHA-256 of the lock file, which is in the tree and names each package with its digest."""
    tree: str
    """`tree_digest` of all that was installed."""


INSTALLER = 65534
"""As whom packages are fetched where this process is root."""


class Store:
    """Below `root`, which only this user should be able to write to. Several processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, wanted: Wanted, platform: str) -> Note | None:
        """What is installed for it, None if nothing is. Not checked: see `check`."""
        try:
            note = Note(**json.loads(self._note(wanted, platform).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return None  # damaged: installed anew
        return note if self.tree(note).is_dir() else None

    def tree(self, note: Note) -> Path:
        """Where its files are."""
        return self._root / "trees" / note.tree

    def check(self, note: Note) -> None:
        """Raise `HostedError` if the files are not those that were installed."""
        folder = self.tree(note)
        if tree_digest(folder) != note.tree:
            raise HostedError(
                f"{note.wanted}: the files in {folder} are not those that were installed; remove that folder, and "
                "whatever changed it"
            )

    @contextmanager
    def making(self) -> Generator[Path]:
        """A new folder to install into, with `tree` and `scratch` in it, alone in the store; removed afterwards."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file
            for stale in self._root.glob("making-*"):
                shutil.rmtree(stale, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix="making-", dir=self._root))
            for place in (folder, folder / "tree", folder / "scratch"):
                place.mkdir(exist_ok=True)
                if os.geteuid() == 0:
                    os.chown(place, INSTALLER, INSTALLER)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def keep(self, wanted: Wanted, platform: str, tree: Path, *, version: str, lock: bytes) -> Note:
        """Take a finished tree in, under `making`. The note is durable before this returns."""
        _own(tree)
        note = Note(wanted.spelled, version, sha256_hex(lock), tree_digest(tree))
        place = self.tree(note)
        place.parent.mkdir(exist_ok=True)
        if place.exists():  # of this digest by name; whether also by content is for `check`
            shutil.rmtree(place)
        tree.rename(place)
        path = self._note(wanted, platform)
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(asdict(note), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        return note

    def _note(self, wanted: Wanted, platform: str) -> Path:
        return self._root / "notes" / f"{sha256_hex(f'{wanted.spelled} {platform}'.encode())[:40]}.json"


def _own(tree: Path) -> None:
    """Nobody but this user may change it from now on, and the sandbox's user may read it."""
    for folder, folders, files in os.walk(tree):
        for name in (".", *folders, *files):
            path = Path(folder, name)
            if os.geteuid() == 0:
                os.chown(path, 0, 0, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o111 else 0o644)
