"""Decoys where stolen secrets usually are: a hosted server finds nothing there, and that it looked is seen.

Which files a sandboxed program asks for cannot be observed from outside; that one of ours was opened can (inotify(7)).
"""

import asyncio
import ctypes
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from servers.tee.process import Mount

DECOYS = (".ssh/id_rsa", ".ssh/id_ed25519", ".ssh/config", ".aws/credentials", ".gnupg/secring.gpg", ".kube/config")
FOLDERS = tuple(dict.fromkeys(name.split("/")[0] for name in DECOYS))
INSIDE = "/decoys"
"""Links in the program's home lead there; those of `/root` are mounts."""
_SHADOW = "shadow"
_OPENED, _IS_FOLDER, _NOT_BLOCKING = 0x20, 0x40000000, 0x800
_EVENT = struct.Struct("iIII")


class Tripwires:
    """`mounts` go into each sandbox; `say` is told once of each decoy that was opened."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._names: dict[int, str] = {}  # of what is watched, by its number in the kernel
        self.touched: list[str] = []
        """What was opened, in order of the first time. Grown by `_seen` alone."""

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Read-only, nothing in it to be run."""
        at_root = [Mount(self._folder / name, f"/root/{name}", executable=False) for name in FOLDERS]
        shadow = Mount(self._folder / _SHADOW, "/etc/shadow", executable=False)
        return (Mount(self._folder, INSIDE, executable=False), shadow, *at_root)

    def lay(self) -> int:
        """Make the decoys and watch them. The descriptor of the watch. Raises `OSError`."""
        for name in (*DECOYS, _SHADOW):
            file = self._folder / name
            file.parent.mkdir(mode=0o755, exist_ok=True)
            file.write_text("decoy\n")
            file.chmod(0o644)
        self._folder.chmod(0o755)
        libc = ctypes.CDLL(None, use_errno=True)
        watch: int = libc.inotify_init1(_NOT_BLOCKING | os.O_CLOEXEC)
        for name in (*FOLDERS, *DECOYS, _SHADOW):
            number: int = libc.inotify_add_watch(watch, os.fsencode(self._folder / name), ctypes.c_uint32(_OPENED))
            if number < 0:
                code = ctypes.get_errno()
                os.close(watch)
                raise OSError(code, os.strerror(code), str(self._folder / name))
            self._names[number] = "/etc/shadow" if name == _SHADOW else f"~/{name}"
        return watch

    def seen(self, watch: int) -> None:
        """Read what happened; each decoy is told of once."""
        try:
            events = os.read(watch, 64 << 10)
        except BlockingIOError:
            return
        at = 0
        while at + _EVENT.size <= len(events):
            number, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            name = self._names.get(number)
            # A folder's own watch also tells of its files, which have one each.
            if name is None or (length and not mask & _IS_FOLDER) or name in self.touched:
                continue
            self.touched.append(name)
            self._say(f"it opened {name}: a decoy, there is nothing in it")


@asynccontextmanager
async def tripwires(say: Callable[[str], None]) -> AsyncGenerator[Tripwires | None]:
    """Laid for as long as the context lasts; None where the system has no inotify or no more watches."""
    if sys.platform != "linux":
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="etmcp-decoys-"))
    laid, watch = Tripwires(folder, say), -1
    loop = asyncio.get_running_loop()
    try:
        try:
            watch = laid.lay()
        except OSError as e:
            say(f"no decoys are laid ({e.strerror}): what it looks for will not be seen")
            yield None
            return
        loop.add_reader(watch, laid.seen, watch)
        yield laid
    finally:
        if watch >= 0:
            loop.remove_reader(watch)
            os.close(watch)
        shutil.rmtree(folder, ignore_errors=True)
